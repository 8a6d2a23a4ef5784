"""Simple models beside every figure, by the same protocol on the same split: docs/metrics.md says what each one is."""
