"""`consort index`, and what `consort query --retrieve` asks for."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.output import JsonFile, Seed, save, say, show


class _Kind(StrEnum):
    HNSW = "hnsw"
    SCANN = "scann"


def index(
    directory: Annotated[Path, typer.Argument(help="A version of a two-tower model, or a folder with one model.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the index, new or empty.")],
    kind: Annotated[_Kind, typer.Option(help="hnsw, or scann; exit 3 if its package is missing.")] = _Kind.HNSW,
    min_recall: Annotated[
        float, typer.Option("--min-recall", help="Recall against the exact answer; exit 4 below it.", min=0, max=1)
    ] = 0.98,
    queries: Annotated[int, typer.Option(help="Users to measure it on.", min=1)] = 200,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Build an approximate index over the items of a two-tower model; written only if its recall is high enough.

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

    told = build_index(
        version, out, kind.value, min_recall, queries, 1 if seed is None else seed, {"machine": machine()}, say
    )
    show({"directory": str(out), **{key: value for key, value in told.items() if key != "machine"}})
    save(told, json_file)


def asked_for(signature: str, retrieve: bool, k: int | None, exclude: list[str] | None) -> tuple[str, dict[str, Any]]:
    """The signature to ask, and the inputs that the options of `consort query` give.

    Raises:
      InputError: options that do not go together.
    """
    from transforms.errors import InputError

    more: dict[str, Any] = {} if k is None else {"k": k}
    if exclude:
        more["exclude"] = [exclude]
    if retrieve and signature not in ("serving_default", "retrieve"):
        raise InputError("consort query", f"--retrieve and --signature {signature}", "one of them", "name one")
    if more and not retrieve and signature != "retrieve":
        received = " and ".join(f"--{name}" for name in more)
        raise InputError("consort query", received, "these with --retrieve only", "add --retrieve")
    return "retrieve" if retrieve else signature, more


def as_inputs(more: Mapping[str, Any], asked: Any) -> dict[str, Any]:
    """The options' inputs in the types of the signature.

    Args:
      more: of `asked_for`.
      asked: the signature.

    Raises:
      InputError: an id that is no number, where ids are numbers.
    """
    import numpy as np

    from transforms.errors import InputError

    found = {}
    for name, value in more.items():
        dtype = asked.inputs[name].dtype
        try:
            found[name] = np.array(value, object if dtype == "string" else dtype)
        except ValueError as error:
            raise InputError(f"--{name}", str(value), f"values of type {dtype}", "correct them") from error
    return found


def listed(values: Any) -> Any:
    """An answer's values as lists, text as text."""
    return _text(values.tolist())


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(one) for one in value]
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
