"""Sizes of the id spaces once a transform has been learned."""

from collections.abc import Mapping

import tensorflow_transform as tft

from transforms.features import FeatureSet


def table_sizes(feature_set: FeatureSet, transform: tft.TFTransformOutput) -> dict[str, int]:
    """V of each space: 1 (missing, padding) + vocabulary + out-of-vocabulary buckets, or as fixed."""
    sizes = feature_set.fixed_space_sizes()
    for space in feature_set.id_spaces:
        if space.hash_buckets is None:
            sizes[space.name] = 1 + int(transform.vocabulary_size_by_name(space.name)) + space.num_oov_buckets
    return sizes


def least_table_sizes(feature_set: FeatureSet) -> dict[str, int]:
    """V of each space before anything is learned: of a vocabulary that is still empty, or as fixed."""
    return {space.name: 2 for space in feature_set.id_spaces} | feature_set.fixed_space_sizes()


def written_ids(feature_set: FeatureSet, sizes: Mapping[str, int]) -> dict[str, int]:
    """Of each space, how many ids stand for one token each: all but the out-of-vocabulary buckets, which are last.

    The buckets of a hashed space all count: some tokens share one, but none is known to.
    """
    buckets = {space.name: space.num_oov_buckets for space in feature_set.id_spaces if space.hash_buckets is None}
    return {name: size - buckets.get(name, 0) for name, size in sizes.items()}
