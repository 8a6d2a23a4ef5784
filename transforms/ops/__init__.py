"""One file per feature kind: how a raw column becomes a model feature, in TensorFlow Transform."""
