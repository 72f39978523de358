"""Which negatives BPR sees: pools and reproducible draws."""
