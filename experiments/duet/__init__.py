"""The tables of DUET."""
