"""A client of TensorFlow Serving's gRPC that needs no TensorFlow."""

from serving.client.inputs import Signature, Tensor
from serving.client.predict_client import PredictClient, Prediction, Retrieved, VersionStatus
from serving.protocol import ServingError

__all__ = ["PredictClient", "Prediction", "Retrieved", "ServingError", "Signature", "Tensor", "VersionStatus"]
