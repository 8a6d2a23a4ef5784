"""`consort query`."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli import places
from consort.cli.options import JsonFile, check_records
from consort.cli.output import show

Records = Annotated[
    Path | None, typer.Option("--data", metavar="FOLDER", help="Dataset of raw records.", parser=places.read)
]
Inputs = Annotated[
    Path | None,
    typer.Option(
        "--inputs",
        metavar="FILE",
        help="JSON file: values by input name, or a record per line.",
        parser=places.read,
    ),
]


def query(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
    data: Records = None,
    inputs: Inputs = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="Split of the dataset.")] = "test",
    count: Annotated[int, typer.Option(metavar="N", help="Number of records in a request.", min=1)] = 5,
    signature: Annotated[
        str, typer.Option(metavar="NAME", help="Signature to call; plain works without XLA.")
    ] = "serving_default",
    retrieve: Annotated[bool, typer.Option("--retrieve", help="Get the top items: --signature retrieve.")] = False,
    k: Annotated[
        int | None, typer.Option("--k", metavar="K", help="With --retrieve: items per user; default: the model's.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="ID", help="With --retrieve: item id to exclude; repeatable."),
    ] = None,
    repeat: Annotated[
        int, typer.Option(metavar="N", help="Number of requests to send; the median latency is printed.", min=1)
    ] = 1,
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of the server.")] = "127.0.0.1:8500",
    port: Annotated[str | None, typer.Option(metavar="N", help="Not an option: see --address.", hidden=True)] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Deadline of each call.", min=0.001)] = 5.0,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time to wait for the server to load the model.", min=0.0)
    ] = 0.0,
    json_file: JsonFile = None,
) -> None:
    """Send a request over gRPC; print the answer and latency.

    Example: consort query simulated_deepfm --data /tmp/log --count 3
    """
    from consort.cli.retrieval import as_inputs, retrieve_inputs

    signature, options = retrieve_inputs(signature, retrieve, k, exclude)
    from serving.client import PredictClient
    from serving.client.json_inputs import read_inputs
    from transforms.errors import InputError

    if port is not None:
        fix = f"pass --address 127.0.0.1:{port}"
        raise InputError("consort query", f"--port {port}", "--address HOST:PORT", fix)
    check_records("consort query", data, inputs, split, "a JSON file of a request's inputs")
    with _advised(address), PredictClient(address, timeout_s=timeout) as client:
        if wait:
            client.wait_available(model, wait)
        called = _signature(client.metadata(model), signature)
        arrays = _from_data(data, split, count, called) if data is not None else read_inputs(inputs or "", called)
        arrays |= as_inputs(options, called)
        answer, milliseconds = _send(lambda: client.predict(model, arrays, signature), repeat)
    result = {"model": answer.model, "version": answer.version, "milliseconds": milliseconds}
    show({**result, **_answers(answer.outputs, arrays)}, json_file)


def _answers(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `outputs` as lists; of candidates only the real ones, with their `item_id` if the request has it."""
    from consort.cli.retrieval import listed
    from transforms.features import CANDIDATE, ITEM_ID

    if CANDIDATE not in inputs:
        return {"outputs": {name: listed(values) for name, values in outputs.items()}}
    real = inputs[CANDIDATE] == 1

    def of_candidates(values: Any) -> Any:
        if values.shape[:2] != real.shape:
            return listed(values)
        return [listed(row[kept]) for row, kept in zip(values, real)]

    ids = {ITEM_ID: of_candidates(inputs[ITEM_ID])} if ITEM_ID in inputs else {}
    return {**ids, "outputs": {name: of_candidates(values) for name, values in outputs.items()}}


def _send(call: Callable[[], Any], repeat: int) -> tuple[Any, float]:
    """Returns the answer of `repeat` calls, and their median latency in milliseconds."""
    milliseconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        answer = call()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return answer, round(sorted(milliseconds)[repeat // 2], 3)


def _signature(signatures: Mapping[str, Any], name: str) -> Any:
    from transforms.errors import InputError

    if name not in signatures:
        known = ", ".join(sorted(key for key in signatures if not key.startswith("__")))
        raise InputError("--signature", name, f"one of {known}", "choose one of them")
    return signatures[name]


@contextlib.contextmanager
def _advised(address: str) -> Iterator[None]:
    """Adds a fix to the errors of a server."""
    from serving.client import ServingError

    advice = {
        "UNAVAILABLE": f"start a server with `consort serve FOLDER`, or pass its --address; this one was {address}",
        "NOT_FOUND": "pass one of the model names that `consort serve` prints when it starts",
    }
    try:
        yield
    except ServingError as error:
        if error.code not in advice:
            raise
        raise ServingError(error.code, f"{error.details}. Fix: {advice[error.code]}") from error


def _from_data(data: Path, split: str, count: int, called: Any) -> dict[str, Any]:
    """Returns the inputs of a signature from the first records of a split."""
    from serving.client.inputs import is_option
    from transforms.errors import InputError
    from transforms.features import CANDIDATE, RecordKind, with_lengths
    from transforms.input import first_examples
    from transforms.records import load_dataset, shard_paths, split_named

    dataset = load_dataset(data)
    record: RecordKind = "request" if CANDIDATE in called.inputs or "row" not in dataset.records else "row"
    known = {column.name for column in with_lengths(dataset.feature_set.columns_of(record))}
    asked = known & called.inputs.keys()
    # Not even columns that have a default: a dataset of another model would be answered, for missing values alone.
    if missing := [name for name in called.inputs if name not in known and not is_option(name, called)]:
        fix = "choose a dataset of the source that the model was trained on"
        raise InputError(str(data), f"no column {', '.join(sorted(missing))}", "all inputs of the model", fix)
    files = shard_paths(data, dataset, record, split_named(split))
    from serving.export.requests import request_inputs, without_padding

    arrays = request_inputs(first_examples(files, count), dataset.feature_set, record, asked)
    return dict(without_padding(arrays, dataset.feature_set) if CANDIDATE in arrays else arrays)
