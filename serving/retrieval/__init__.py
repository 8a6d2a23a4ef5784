"""Retrieval over a catalogue of items: exact in the served graph, approximate by an index beside it, and its recall."""
