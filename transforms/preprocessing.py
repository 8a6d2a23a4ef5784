"""The preprocessing_fn of TensorFlow Transform: one loop over the FeatureSet.

What it learns (vocabularies, means, quantiles) comes from the analyzed split alone; the same graph
transforms records for training and raw features in serving.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from transforms.beam.statistics import learn_statistics
from transforms.features import (
    CANDIDATE,
    EXPOSED,
    LABEL,
    STAGE,
    TIME_ENCODINGS,
    VECTOR_ENCODINGS,
    VOCABULARY_ENCODINGS,
    WEIGHT,
    Encoding,
    Feature,
    FeatureSet,
    RecordKind,
)
from transforms.ops import Values, flat, is_real, quantile_ids, scaled, statistic_of, time_ids, vocabulary_ids


def preprocessing_fn(inputs: Mapping[str, Values], custom_config: Mapping[str, Any]) -> dict[str, Values]:
    """Raw columns to model inputs, label and masks.

    Args:
      inputs: raw columns by name, as `transforms.schema.schema_of` declares them.
      custom_config: `feature_set`: the FeatureSet as JSON text; `record`: `row` or `request`.

    Returns:
      Each feature under its name: ids int64, numbers float32, in the raw column's shape; `label`, and `weight` where
      the source has it; for requests the masks `candidate` and `exposed`, and `stage` where the source has it. No
      model reads `weight` and `stage`.
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
    others = [feature for feature in feature_set.features if feature.encoding not in VOCABULARY_ENCODINGS]
    widths = {f.name: feature_set.column(f.column).width for f in others}
    wanted = {f.name: statistic_of(f, raw[f.name], real[f.name], widths[f.name]) for f in others}
    learned = learn_statistics({name: one for name, one in wanted.items() if one is not None})
    for feature in others:
        name, column = feature.name, (feature, raw[feature.name], real[feature.name])
        if feature.encoding in TIME_ENCODINGS:
            outputs[name] = time_ids(*column)
        elif feature.encoding is Encoding.QUANTILE:
            outputs[name] = quantile_ids(*column, learned[name])
        else:
            outputs[name] = scaled(*column, learned.get(name), widths[name])
    passed = [LABEL, EXPOSED, CANDIDATE] if record == "request" else [LABEL]
    passed += [name for name in (STAGE, WEIGHT) if name in inputs and (name == WEIGHT or record == "request")]
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
    real, column = is_real(flat(values)), feature_set.column(feature.column)
    if column.shape(record).per_candidate:
        candidate = tf.equal(flat(inputs[CANDIDATE]), 1)
        real &= candidate if column.width is None else tf.repeat(candidate, column.width)
    if feature.encoding in VECTOR_ENCODINGS and column.width is not None:
        return tf.reduce_all(tf.reshape(real, [-1, column.width]), axis=1)
    return real
