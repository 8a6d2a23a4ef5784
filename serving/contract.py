"""Reads contract.json, what a server and a client need to know of an exported model, without TensorFlow."""

import os
from pathlib import Path
from typing import Any

from transforms.errors import InputError
from transforms.plain_text import parse_json

CONTRACT = os.path.join("assets.extra", "contract.json")
WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")
XLA_WARMUP = os.path.join("assets.extra", "xla_warmup_requests")
"""More of the same, which needs XLA: to be appended to `WARMUP` for a TensorFlow Serving that has it."""
BATCHING_PARAMETERS = "batching_params.pbtxt"
"""Beside `saved_model.pb`: read with TensorFlow Serving's `--enable_per_model_batching_parameters`; without this file a
version is not batched then."""
CONTRACT_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1: `serving_default` needs XLA where there is a signature `plain`."""
XLA_FLAG = "--xla_cpu_compilation_enabled=true"
"""Flag of TensorFlow Serving for XLA on CPUs."""


def flags_required(model_dir: str | os.PathLike[str]) -> tuple[str, ...]:
    """The flags without which `serving_default` of an exported model fails; none for one without a contract."""
    if not (Path(model_dir) / CONTRACT).is_file():
        return ()
    return tuple(read_contract(model_dir).get("server_flags_required", ()))


def signatures_with_flags(model_dir: str | os.PathLike[str]) -> list[str]:
    """The signatures of an exported model that need a flag, such as XLA's, which a server may not have."""
    return [name for name, entry in read_contract(model_dir)["signatures"].items() if "server_flags_required" in entry]


def read_contract(model_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """The contract of an exported model.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    path = Path(model_dir) / CONTRACT
    fix = "export the model with `consort export`, or name a directory that holds such an export"
    try:
        contract: dict[str, Any] = parse_json(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"no readable file ({error})", "a contract.json", fix) from error
    if not isinstance(contract, dict):
        raise InputError(str(path), type(contract).__name__, "a JSON object", fix)
    if contract.get("contract_version") not in READABLE_VERSIONS:
        received = f"contract_version {contract.get('contract_version')}"
        raise InputError(str(path), received, f"contract_version {' or '.join(map(str, READABLE_VERSIONS))}", fix)
    return contract
