"""The other libraries that training is compared with; each runs in a separate environment.

Modules that end in `_worker`, and their imports, run in that environment: the standard library, NumPy and the peer,
without Consort's packages.
"""
