"""The table of CS3."""
