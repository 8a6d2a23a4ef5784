"""Sizes of the id spaces once a transform has been learned."""

import tensorflow_transform as tft

from transforms.features import FeatureSet


def table_sizes(feature_set: FeatureSet, transform: tft.TFTransformOutput) -> dict[str, int]:
    """V of each space: 1 (missing, padding) + vocabulary + out-of-vocabulary buckets, or as fixed."""
    sizes = feature_set.fixed_space_sizes()
    for space in feature_set.id_spaces:
        if space.hash_buckets is None:
            sizes[space.name] = 1 + int(transform.vocabulary_size_by_name(space.name)) + space.num_oov_buckets
    return sizes
