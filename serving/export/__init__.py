"""Exports a trained model as a SavedModel: signatures, contract, warm-up, golden answers."""
