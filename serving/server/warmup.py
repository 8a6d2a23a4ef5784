"""Warm-up: the requests that travel with a model, run before the version becomes AVAILABLE."""

import os
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
from google.protobuf.message import DecodeError

from serving.contract import WARMUP, XLA_WARMUP
from serving.protocol import PredictionLog, PredictResponse, ServingError
from serving.server.servable import Servable, classify, multi_inference, regress

REQUESTS, XLA_REQUESTS = WARMUP, XLA_WARMUP
MOST_RECORDS = 1000
MOST_REPEATED_BYTES = 1 << 30
"""Memory of a record's tensors that hold fewer values than elements: a model's own requests may be large."""

_HEADER_BYTES, _CHECKSUM_BYTES = 12, 4


def warm_up(servable: Servable, directory: str | os.PathLike[str], xla: bool = False) -> int:
    """Runs every record once, in order, and returns how many there were.

    Args:
      servable: the model.
      directory: of its version.
      xla: also run the requests that need XLA, so that nothing is compiled while requests wait.

    Raises:
      ServingError: a file is no TFRecord file (DATA_LOSS), a folder (FAILED_PRECONDITION), holds too many records or
        such as cannot be run, or the model refused a record. The version must not be served then.
    """
    count = sum(_run(servable, *one) for one in _records_of(Path(directory) / REQUESTS))
    if xla:
        # Sizes are compiled side by side: each takes its time on one core.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            count += sum(pool.map(lambda one: _run(servable, *one), _records_of(Path(directory) / XLA_REQUESTS)))
    return count


def _records_of(path: Path) -> Iterator[tuple[Any, str]]:
    """The requests of a file, each with its place for messages."""
    if not path.exists():
        return
    for index, record in enumerate(_records(_content(path))):
        if index == MOST_RECORDS:
            message = f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}"
            raise ServingError("INVALID_ARGUMENT", message)
        yield _log(record, path), f"warm-up record {index} of {path}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise ServingError("FAILED_PRECONDITION", f"{path}; Is a directory") from None
    except PermissionError:
        raise ServingError("PERMISSION_DENIED", f"{path}; Permission denied") from None


def _records(content: bytes) -> Iterator[bytes]:
    """Records of a TFRecord file: length and its checksum, data and its checksum.

    Less than a record's header is taken for the end of the file, as TensorFlow's own reader takes it.
    """
    position = 0
    while position + _HEADER_BYTES <= len(content):
        length, checksum = struct.unpack_from("<QI", content, position)
        start = position + _HEADER_BYTES
        end = start + length
        if checksum != _masked_crc32c(content[position : position + 8]):
            raise _data_loss(f"corrupted record at {position}")
        if end + _CHECKSUM_BYTES > len(content):
            raise _data_loss(f"truncated record at {position}")
        data = content[start:end]
        if struct.unpack_from("<I", content, end)[0] != _masked_crc32c(data):
            raise _data_loss(f"corrupted record at {start}")
        yield data
        position = end + _CHECKSUM_BYTES


def _masked_crc32c(data: bytes) -> int:
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _data_loss(what: str) -> ServingError:
    return ServingError("DATA_LOSS", f"{what}. Please verify your warmup data is in TFRecord format.")


def _log(record: bytes, path: Path) -> Any:
    try:
        return PredictionLog.FromString(record)
    except DecodeError:
        raise ServingError("INVALID_ARGUMENT", f"Failed to parse warmup record: {record[:100]!r} from {path}") from None


def _predict(servable: Servable, request: Any) -> None:
    servable.predict(request, PredictResponse(), most_repeated_bytes=MOST_REPEATED_BYTES)


_RUNNERS: dict[str, Callable[[Servable, Any], None]] = {
    "predict_log": _predict,
    "classify_log": classify,
    "regress_log": regress,
    "multi_inference_log": multi_inference,
}


def _run(servable: Servable, log: Any, where: str) -> int:
    """Runs a request, and counts it."""
    kind = log.WhichOneof("log_type")
    try:
        if kind is not None:  # TensorFlow Serving skips a record of no type, too.
            if kind not in _RUNNERS:
                raise ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")
            _RUNNERS[kind](servable, getattr(log, kind).request)
    except ServingError as error:
        raise ServingError(error.code, f"{where}: {error.details}") from None
    return 1
