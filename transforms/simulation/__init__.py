"""CascadeWorld: users, items, clicks and a logging cascade whose truth is known, in vectorised NumPy."""
