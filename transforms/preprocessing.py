"""The preprocessing_fn of TensorFlow Transform: one loop over the FeatureSet.

What it learns (vocabularies, means, quantiles) comes from the analysed split alone; the same graph
transforms records for training and raw features in serving.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from transforms.features import (
    CANDIDATE,
    EXPOSED,
    LABEL,
    STAGE,
    TIME_ENCODINGS,
    VOCABULARY_ENCODINGS,
    Encoding,
    Feature,
    FeatureSet,
    RecordKind,
    Shape,
)
from transforms.ops import Values, flat, is_real, quantile_ids, scaled, time_ids, vocabulary_ids

_BY_ENCODING = {Encoding.QUANTILE: quantile_ids} | dict.fromkeys(TIME_ENCODINGS, time_ids)


def preprocessing_fn(inputs: Mapping[str, Values], custom_config: Mapping[str, Any]) -> dict[str, Values]:
    """Raw columns to model inputs, label and masks.

    Args:
      inputs: raw columns by name, as `transforms.schema.schema_of` declares them.
      custom_config: `feature_set`: the FeatureSet as JSON text; `record`: `row` or `request`.

    Returns:
      Each feature under its name: ids int64, numbers float32, in the raw column's shape; `label`; for
      requests the masks `candidate` and `exposed`, and `stage` where the source has it, which no model reads.
    """
    feature_set = FeatureSet.model_validate_json(custom_config["feature_set"])
    return transform(inputs, feature_set, custom_config["record"])


def transform(inputs: Mapping[str, Values], feature_set: FeatureSet, record: RecordKind) -> dict[str, Values]:
    """As `preprocessing_fn`, with the FeatureSet itself."""
    raw = {f.name: _column(f, inputs, feature_set) for f in feature_set.features}
    real = {f.name: _real(f, raw[f.name], inputs, feature_set, record) for f in feature_set.features}
    outputs: dict[str, Values] = {}
    for vocabulary in feature_set.id_vocabularies:
        members = feature_set.features_in(vocabulary.name)
        outputs |= vocabulary_ids(vocabulary, {f.name: (f, raw[f.name], real[f.name]) for f in members})
    for feature in feature_set.features:
        if feature.encoding not in VOCABULARY_ENCODINGS:
            encode = _BY_ENCODING.get(feature.encoding, scaled)
            outputs[feature.name] = encode(feature, raw[feature.name], real[feature.name])
    passed = [LABEL, EXPOSED, CANDIDATE] if record == "request" else [LABEL]
    if record == "request" and STAGE in inputs:
        passed.append(STAGE)
    return outputs | {name: tf.identity(inputs[name]) for name in passed}


def _column(feature: Feature, inputs: Mapping[str, Values], feature_set: FeatureSet) -> Values:
    column = feature_set.column(feature.column)
    values = inputs[column.name]
    if column.variable_length and column.max_length is not None:
        values = values[:, -column.max_length :]
    return values


def _real(
    feature: Feature, values: Values, inputs: Mapping[str, Values], feature_set: FeatureSet, record: RecordKind
) -> tf.Tensor:
    real = is_real(flat(values))
    if feature_set.column(feature.column).shape(record) is Shape.CANDIDATES:
        real &= tf.equal(flat(inputs[CANDIDATE]), 1)
    return real
