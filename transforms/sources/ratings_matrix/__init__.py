"""Ratings matrices."""
