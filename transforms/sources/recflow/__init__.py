"""RecFlow."""
