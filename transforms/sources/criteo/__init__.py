"""Criteo."""
