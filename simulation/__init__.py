"""Worlds whose truth is known, in vectorized NumPy, and their records: a logging cascade and a click log."""
