"""Point-wise click models."""
