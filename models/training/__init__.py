"""Optimizer, fitting with checkpoints, metrics."""
