"""Histories, counters and joins as they stood strictly before each event, by key, on any Beam runner."""
