"""A local server that speaks TensorFlow Serving's gRPC over real SavedModels."""
