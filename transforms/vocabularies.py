"""Sizes of the vocabularies once a transform has been learned."""

from collections.abc import Mapping

import tensorflow_transform as tft

from transforms.features import FeatureSet


def table_sizes(feature_set: FeatureSet, transform: tft.TFTransformOutput) -> dict[str, int]:
    """V of each vocabulary: 1 (missing, padding) + tokens + out-of-vocabulary buckets, or as fixed."""
    sizes = feature_set.fixed_table_sizes()
    for vocabulary in feature_set.id_vocabularies:
        if vocabulary.hash_buckets is None:
            sizes[vocabulary.name] = (
                1 + int(transform.vocabulary_size_by_name(vocabulary.name)) + vocabulary.num_oov_buckets
            )
    return sizes


def least_table_sizes(feature_set: FeatureSet) -> dict[str, int]:
    """V of each vocabulary before anything is learned: no tokens yet, or as fixed."""
    return {vocabulary.name: 2 for vocabulary in feature_set.id_vocabularies} | feature_set.fixed_table_sizes()


def in_vocabulary_ids(feature_set: FeatureSet, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the number of ids of each vocabulary without the out-of-vocabulary buckets, which are the last ids.

    The buckets of a hashed vocabulary all count: some tokens share one, but none is known to.
    """
    buckets = {
        vocabulary.name: vocabulary.num_oov_buckets
        for vocabulary in feature_set.id_vocabularies
        if vocabulary.hash_buckets is None
    }
    return {name: size - buckets.get(name, 0) for name, size in sizes.items()}
