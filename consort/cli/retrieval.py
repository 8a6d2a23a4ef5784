"""`consort index`, and the inputs of `consort query --retrieve`."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli import places
from consort.cli.options import JsonFile, Seed
from consort.cli.output import save, say, show


class _Kind(StrEnum):
    HNSW = "hnsw"
    SCANN = "scann"


def index(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Version of a two-tower model, or a folder with one model.",
            parser=places.read_model,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="Folder of the index, new or empty.", parser=places.write),
    ],
    kind: Annotated[_Kind, typer.Option(help="Kind of index; exit code 3 if its package is missing.")] = _Kind.HNSW,
    min_recall: Annotated[
        float, typer.Option("--min-recall", metavar="R", help="Required recall against exact search.", min=0, max=1)
    ] = 0.98,
    queries: Annotated[int, typer.Option(metavar="N", help="Number of users to measure the recall on.", min=1)] = 200,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Build an approximate index of a two-tower model's items.

    The index is written if its recall is high enough; otherwise the exit code is 4.

    Example: consort index /tmp/serving/towers --out /tmp/index
    """
    from serving.retrieval.index_kinds import require
    from serving.versions import find_saved_model
    from transforms.files import check_folder

    check_folder(out, "--out")
    version = find_saved_model(directory)
    require(kind.value)
    from runs.provenance import machine
    from serving.retrieval.index import build_index

    result = build_index(version, out, kind.value, min_recall, queries, seed, {"machine": machine()}, say)
    show({"directory": str(out), **{key: value for key, value in result.items() if key != "machine"}})
    save(result, json_file)


def retrieve_inputs(
    signature: str, retrieve: bool, k: int | None, exclude: list[str] | None
) -> tuple[str, dict[str, Any]]:
    """Returns the signature to call and the inputs from the options of `consort query`.

    Raises:
      InputError: the options contradict each other.
    """
    from transforms.errors import InputError

    more: dict[str, Any] = {} if k is None else {"k": k}
    if exclude:
        more["exclude"] = [exclude]
    if retrieve and signature not in ("serving_default", "retrieve"):
        raise InputError("consort query", f"--retrieve and --signature {signature}", "one of them", "pass one")
    if more and not retrieve and signature != "retrieve":
        received = " and ".join(f"--{name}" for name in more)
        raise InputError("consort query", received, "--retrieve with it", "add --retrieve")
    return "retrieve" if retrieve else signature, more


def as_inputs(options: Mapping[str, Any], signature: Any) -> dict[str, Any]:
    """Converts the options to the types of the signature's inputs.

    Args:
      options: values by input name, from `retrieve_inputs`.
      signature: the signature.

    Raises:
      InputError: an id is not a number where the signature takes numbers.
    """
    import numpy as np

    from transforms.errors import InputError

    arrays = {}
    for name, value in options.items():
        dtype = signature.inputs[name].dtype
        try:
            arrays[name] = np.array(value, object if dtype == "string" else dtype)
        except ValueError as error:
            raise InputError(f"--{name}", str(value), f"values of type {dtype}", "correct them") from error
    return arrays


def listed(values: Any) -> Any:
    """Converts an array to lists, and bytes to text."""
    return _text(values.tolist())


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(one) for one in value]
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
