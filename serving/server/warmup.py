"""Warm-up: the requests that travel with a model, run before the version becomes AVAILABLE."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from serving.protocol import PredictionLog, PredictResponse, ServingError
from serving.server.predict import Servable

REQUESTS = os.path.join("assets.extra", "tf_serving_warmup_requests")
MOST_RECORDS = 1000


def warm_up(servable: Servable, directory: str | os.PathLike[str]) -> int:
    """Runs every record once, in order, and returns how many there were.

    Raises:
      ServingError: the file is no TFRecord file (DATA_LOSS), holds too many records or other ones than Predict, or
        the model refused a record. The version must not be served then.
    """
    path = Path(directory) / REQUESTS
    if not path.is_file():
        return 0
    count = 0
    for record in _records(path):
        request = _request(record, path)
        try:
            servable.predict(request, PredictResponse())
        except ServingError as error:
            raise ServingError(error.code, f"warm-up record {count} of {path}: {error.details}") from None
        count += 1
        if count > MOST_RECORDS:
            message = f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}"
            raise ServingError("INVALID_ARGUMENT", message)
    return count


def _records(path: Path) -> Iterator[bytes]:
    """Records of a TFRecord file: length and its checksum, data and its checksum.

    The length's checksum tells a TFRecord file from another one; that of the data would take longer than the warm-up.
    """
    content = path.read_bytes()
    position = 0
    while position < len(content):
        header = content[position : position + 12]
        length, checksum = struct.unpack("<QI", header) if len(header) == 12 else (0, None)
        end = position + 12 + length
        if checksum != _masked_crc32c(header[:8]) or end + 4 > len(content):
            message = f"{path}: corrupted record at {position}. Please verify your warmup data is in TFRecord format."
            raise ServingError("DATA_LOSS", message)
        yield content[position + 12 : end]
        position = end + 4


def _masked_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _request(record: bytes, path: Path) -> Any:
    try:
        log = PredictionLog.FromString(record)
    except DecodeError:
        raise ServingError("INVALID_ARGUMENT", f"Failed to parse warmup record: {record[:100]!r} from {path}") from None
    if log.WhichOneof("log_type") != "predict_log":
        raise ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup in {path}: this server runs predict_log")
    return log.predict_log.request
