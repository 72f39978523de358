"""Scores of users over items in blocks: top-k, ranks of held-out items, score range."""
