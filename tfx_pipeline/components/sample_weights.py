"""What Evaluator does besides for requests with sample weights: a candidate counts by its weight where it was shown."""

from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from transforms.features import EXPOSED, WEIGHT


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """Evaluator's own extractors, `exposed` times `weight` in the place of `exposed` behind the one of features.

    Evaluator takes the weights of examples from a single feature, which of requests is `exposed`.
    """
    first, *others = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    weigh = tfma.extractors.Extractor(stage_name="WeighExposed", ptransform=beam.Map(weighted))
    return [first, weigh, *others]


def weighted(extracts: dict[str, Any]) -> dict[str, Any]:
    """A batch of extracts whose `exposed` is multiplied by `weight`."""
    features = extracts[tfma.FEATURES_KEY]
    product = np.asarray(features[EXPOSED], np.float32) * np.asarray(features[WEIGHT], np.float32)
    return {**extracts, tfma.FEATURES_KEY: {**features, EXPOSED: product}}
