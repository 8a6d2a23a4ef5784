"""Models that score a whole candidate set, and the baselines that they are compared with."""
