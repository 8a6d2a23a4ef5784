"""Mutual learning: Tables 1 to 4 of the paper, and controls."""
