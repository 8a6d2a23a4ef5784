"""One file per node of the pipeline."""
