"""Parameters for a TensorFlow Serving that joins requests to batches, in contract.json and as the file it reads."""

import os
from pathlib import Path
from typing import Any

from serving.contract import BATCHING_PARAMETERS
from transforms.features import RecordKind
from transforms.files import write_text

WARMUP_ROWS = 32
"""Records in the largest warm-up request: a batching server loads a model if its `max_batch_size` is at least this."""
MAX_BATCH_SIZE = 1024
"""Recommended: no request for single rows may be larger, and TensorFlow Serving's default is 1000."""

SERVER_PARAMETERS = "batching_parameters.pbtxt"
"""The same for all models of a server, beside their folders."""

_TEXT = f"""\
# Batching parameters of TensorFlow Serving: --enable_batching=true with --batching_parameters_file=THIS_FILE, or
# beside a version with --enable_per_model_batching_parameters=true.
max_batch_size {{ value: {MAX_BATCH_SIZE} }}
# Join what is waiting when a thread is free, and never wait for more.
batch_timeout_micros {{ value: 0 }}
max_enqueued_batches {{ value: 1000 }}
# Lists of unlike lengths may meet in a batch: their lengths are inputs, by which padding is recognized.
pad_variable_length_inputs: true
"""


def batching_of(record: RecordKind) -> dict[str, Any]:
    """Returns the entry `batching` of a contract.

    Args:
      record: what a record of a batch is. One request with its candidates keeps a machine busy, so joining several
        only makes each wait for the others, though no score changes.

    Returns:
      `recommended`: whether to batch; `min_max_batch_size`: rows of the largest warm-up request, and the least
      `max_batch_size` with which the model loads; `max_batch_size`: recommended, in rows;
      `pad_variable_length_inputs`: `safe`, as padding is recognized whatever fills it.
    """
    return {
        "recommended": record == "row",
        "min_max_batch_size": WARMUP_ROWS,
        "max_batch_size": MAX_BATCH_SIZE,
        "pad_variable_length_inputs": "safe",
    }


def write_batching_parameters(model_dir: str | os.PathLike[str], record: RecordKind) -> None:
    """Writes the parameters beside a version; none for a model that is not to be batched."""
    if batching_of(record)["recommended"]:
        write_text(Path(model_dir) / BATCHING_PARAMETERS, _TEXT)


def write_server_parameters(path: str | os.PathLike[str]) -> None:
    """Writes the parameters of a whole server, for its `--batching_parameters_file`; all exported models load with it.

    With `--enable_per_model_batching_parameters` the server takes only its number of threads from this file.
    """
    write_text(Path(path), _TEXT)
