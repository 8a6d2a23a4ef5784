"""The audit of a dataset: leaks and faults that training would take as they are."""
