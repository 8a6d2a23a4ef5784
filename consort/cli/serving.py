"""`consort serve`, `consort query`."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.output import JsonFile, say, show

_WAIT_POLL_S = 0.2


def serve(
    directory: Annotated[Path, typer.Argument(help="Exported versions, or a pipeline's root.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 8500,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    poll_seconds: Annotated[float, typer.Option(help="Seconds between looks for new versions.", min=0.01)] = 1.0,
    xla: Annotated[
        bool | None,
        typer.Option(help="XLA, as TF Serving's --xla_cpu_compilation_enabled; default: if a model's contract asks."),
    ] = None,
    warmup: Annotated[bool, typer.Option(help="Warm-up, as TF Serving's --enable_model_warmup.")] = True,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a first version in the folder.", min=0.0)] = 0.0,
    load_timeout: Annotated[
        float | None, typer.Option(help="Seconds for the models to load; default: as long as it takes.", min=0.0)
    ] = None,
    max_message_bytes: Annotated[
        int, typer.Option(help="Size of a request, also when it is decompressed.", min=1, max=2**31 - 1)
    ] = 64 << 20,
    max_call_seconds: Annotated[
        float, typer.Option(help="A call ends after it, whatever its client's deadline.", min=0.001)
    ] = 60.0,
) -> None:
    """Serve SavedModels over TensorFlow Serving's gRPC, here. In production: tensorflow/serving, same files.

    Example: consort serve /tmp/serving --port 8500
    """
    bases = _bases(directory, wait)
    say("loading " + ", ".join(bases))
    if xla is None:
        xla = _asks_for_xla(bases)
    from serving.server.server import LocalServer, serve_forever

    server = LocalServer(
        bases,
        host=host,
        port=port,
        poll_s=poll_seconds,
        xla=xla,
        warmup=warmup,
        max_message_bytes=max_message_bytes,
        longest_call_s=max_call_seconds,
    )
    serve_forever(
        server,
        load_timeout,
        announce=lambda server: print(f"serving {', '.join(bases)} on {server.address}", flush=True),
        on_wait=lambda reason: say(f"waiting: {reason}"),
    )


def _bases(directory: Path, wait_s: float) -> dict[str, Path]:
    """Base paths by model name, once there is a version."""
    from serving.versions import model_bases
    from transforms.errors import InputError

    deadline = time.monotonic() + wait_s
    said = False
    while True:
        try:
            return model_bases(directory)
        except InputError:
            if time.monotonic() >= deadline:
                raise
        if not said:
            say(f"waiting for a version in {directory}")
            said = True
        time.sleep(_WAIT_POLL_S)


def _asks_for_xla(bases: Mapping[str, Path]) -> bool:
    from serving.contract import XLA_FLAG, flags_required
    from serving.versions import newest_with_contract

    asking = [name for name, base in bases.items() if XLA_FLAG in flags_required(newest_with_contract(base))]
    if asking:
        say(f"with XLA, which {', '.join(asking)} needs; start TensorFlow Serving with {XLA_FLAG}")
    return bool(asking)


def query(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    data: Annotated[Path | None, typer.Option("--data", help="Take raw records from this dataset.")] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="Or a JSON file: input name to list of values.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the dataset.")] = "test",
    count: Annotated[int, typer.Option(help="Records in the request.", min=1)] = 5,
    signature: Annotated[str, typer.Option(help="Which to ask; plain needs no XLA.")] = "serving_default",
    retrieve: Annotated[bool, typer.Option("--retrieve", help="Ask for the best items: --signature retrieve.")] = False,
    k: Annotated[
        int | None, typer.Option("--k", help="Items for each user, with --retrieve; default: the model's.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="With --retrieve: leave this item id out; may be repeated.")
    ] = None,
    repeat: Annotated[int, typer.Option(help="Send it so often, for the latency.", min=1)] = 1,
    address: Annotated[str, typer.Option(help="host:port of the server.")] = "127.0.0.1:8500",
    timeout: Annotated[float, typer.Option(help="Deadline of each call, seconds.", min=0.001)] = 5.0,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the server to have the model.", min=0.0)] = 0.0,
    json_file: JsonFile = None,
) -> None:
    """Send a request over gRPC and print the answer with its latency.

    Example: consort query simulated_deepfm --data /tmp/log --count 3
    """
    from consort.cli.retrieval import as_inputs, asked_for, listed

    signature, more = asked_for(signature, retrieve, k, exclude)
    from serving.client import PredictClient
    from serving.client.json_inputs import read_inputs
    from transforms.errors import InputError
    from transforms.features import LENGTHS
    from transforms.records import load_dataset, split_named

    if (data is None) == (inputs is None):
        raise InputError("consort query", "both or neither of --data and --inputs", "one of them", "name one")
    if data is not None:
        # What is wrong here shows without a server.
        load_dataset(data)
        split_named(split)
    with _advised(address), PredictClient(address, timeout_s=timeout) as client:
        if wait:
            client.wait_available(model, wait)
        asked = _signature(client.metadata(model), signature)
        if data is not None:
            named = {name for name in asked.inputs if name not in asked.defaults or name.endswith(LENGTHS)}
            arrays = _from_data(data, split, count, named)
        else:
            arrays = read_inputs(inputs or "", asked)
        arrays |= as_inputs(more, asked)
        milliseconds = []
        for _ in range(repeat):
            start = time.perf_counter()
            answer = client.predict(model, arrays, signature)
            milliseconds.append(1e3 * (time.perf_counter() - start))
    middle = round(sorted(milliseconds)[len(milliseconds) // 2], 3)
    outputs = {name: listed(values) for name, values in answer.outputs.items()}
    show({"model": answer.model, "version": answer.version, "milliseconds": middle, "outputs": outputs}, json_file)


def _signature(found: Mapping[str, Any], name: str) -> Any:
    from transforms.errors import InputError

    if name not in found:
        known = ", ".join(sorted(key for key in found if not key.startswith("__")))
        raise InputError("--signature", name, f"one of {known}", "choose one of them")
    return found[name]


@contextlib.contextmanager
def _advised(address: str) -> Iterator[None]:
    """Adds to a server's error what the user can do about it."""
    from serving.client import ServingError

    advice = {
        "UNAVAILABLE": f"is a server there? `consort serve DIR` starts one; --address says where, here {address}",
        "NOT_FOUND": "`consort serve` prints the names of its models",
    }
    try:
        yield
    except ServingError as error:
        if error.code not in advice:
            raise
        raise ServingError(error.code, f"{error.details}. Fix: {advice[error.code]}") from error


def _from_data(data: Path, split: str, count: int, asked: set[str]) -> dict[str, Any]:
    from transforms.errors import InputError
    from transforms.features import CANDIDATE, LENGTHS, RecordKind
    from transforms.input import first_examples
    from transforms.records import load_dataset, shard_paths, split_named

    dataset = load_dataset(data)
    record: RecordKind = "request" if CANDIDATE in asked or "row" not in dataset.records else "row"
    lengths = {name for name in asked if name.endswith(LENGTHS) and name.removesuffix(LENGTHS) in asked}
    if missing := asked - lengths - {column.name for column in dataset.feature_set.columns_of(record)}:
        fix = "choose a dataset of the source that the model was trained on"
        raise InputError(str(data), f"no column {', '.join(sorted(missing))}", "all that the model asks for", fix)
    files = shard_paths(data, dataset, record, split_named(split))
    from serving.export.requests import request_inputs, without_padding

    arrays = request_inputs(first_examples(files, count), dataset.feature_set, record, asked)
    return dict(without_padding(arrays, dataset.feature_set) if CANDIDATE in arrays else arrays)
