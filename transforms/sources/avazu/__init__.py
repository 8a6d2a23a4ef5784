"""Avazu."""
