"""RecSys 2017."""
