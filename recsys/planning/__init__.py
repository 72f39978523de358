"""What a shop of a given size needs: memory, time, and the engine of each part; arithmetic only."""
