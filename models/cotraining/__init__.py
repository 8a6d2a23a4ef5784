"""Recipes in which models teach each other."""
