"""Keep one Keras in the process: the Keras 2 line (`tf_keras`) that TFRS, TFT and TFMA live on."""

import os
import sys


def require_legacy_keras() -> None:
    """Make `tf.keras` mean `tf_keras`, or say in one sentence why that is too late.

    Child processes (Beam workers, tuner trials, servers) inherit the choice through the environment.

    Raises:
      ImportError: TensorFlow was imported first and has already bound Keras 3.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    tensorflow = sys.modules.get("tensorflow")
    keras = getattr(tensorflow, "keras", None)
    version = str(getattr(keras, "__version__", "2"))
    if version.startswith("3"):
        raise ImportError(
            f"TensorFlow was imported with Keras {version} before Consort; Consort needs tf_keras (Keras 2): "
            "set TF_USE_LEGACY_KERAS=1 in the environment, or import a Consort package before tensorflow."
        )
