"""One file per data source: raw schema, reader, FeatureSet, splits, licence."""
