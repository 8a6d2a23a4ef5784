"""The other libraries that training is timed against; each runs in an environment of its own.

Modules here that end in `_worker`, and what they import, see that environment: the standard library,
NumPy and the peer, none of Consort's packages.
"""
