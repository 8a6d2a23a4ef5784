"""Searching for better values of the run file's keys."""
