"""Resolves `training.precision: auto` for a machine, a model and a batch."""

from pathlib import Path
from typing import Literal

import tensorflow as tf
import tf_keras as keras

from models.ranking.field_model import FieldModel
from models.registry import REGISTRY
from runs.config import RunConfig
from runs.data import batch_size_of
from transforms.plain_text import parse_yaml

LEAST_BATCH = 1024
"""With fewer rows in a batch casts cost what faster products gain."""
_FLAGS = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")
"""Of processors that multiply bfloat16 in hardware, as Linux names them."""
_LEAST_CAPABILITY = (8, 0)
"""Compute capability of NVIDIA's GPUs that do."""

Resolved = Literal["float32", "mixed_bfloat16"]


def resolved_precision(config: RunConfig, examples: int, recorded: Path | None = None) -> tuple[Resolved, str]:
    """Returns the precision of a run, and why; of a run file that names one, that and an empty reason.

    `auto` is bfloat16 where it was shown to be faster and as good: rankers on rows, such as DeepFM, in batches of 1024
    or more, in one process whose processor or GPU multiplies bfloat16.

    Args:
      config: the run.
      examples: records of its train split.
      recorded: run file of an earlier start of the run, which goes on in its precision; None or missing: there is none.
    """
    training = config.training
    if training.precision != "auto":
        return training.precision, ""
    if recorded is not None and recorded.is_file():
        known = parse_yaml(recorded.read_text()).get("training", {}).get("precision")
        if known in ("float32", "mixed_bfloat16"):
            return known, "as at the start of this run"
    if training.distribution != "none":
        return "float32", "as the run is spread over devices"
    if config.record != "row" or not issubclass(REGISTRY.find(config.model.name, keras.Model), FieldModel):
        return "float32", f"as bfloat16 is chosen for rankers on rows alone, not for {config.model.name}"
    batch = batch_size_of(training, examples)
    if batch < LEAST_BATCH:
        return "float32", f"as batches of {batch} rows are too small to gain by bfloat16"
    hardware = bfloat16_hardware()
    if not hardware:
        return "float32", "as no bfloat16 was found in this processor"
    return "mixed_bfloat16", f"as {hardware} multiplies bfloat16"


def bfloat16_hardware() -> str:
    """Returns what multiplies bfloat16 in this machine, a GPU or a feature of the processor; "" if nothing does."""
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        if details.get("compute_capability", (0, 0)) < _LEAST_CAPABILITY:
            return ""
        return str(details.get("device_name", gpu.name))
    return next((flag for flag in _FLAGS if flag in processor_flags()), "")


def processor_flags() -> frozenset[str]:
    """Returns the features of the processor; none where Linux does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    listed = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(listed.partition(":")[2].split())
