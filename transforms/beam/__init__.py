"""Beam PTransforms between raw files and records."""
