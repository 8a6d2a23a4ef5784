"""Two-tower retrieval models."""
