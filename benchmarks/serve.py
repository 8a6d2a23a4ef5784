"""Latency of a model over gRPC, beside the same graph in this process and beside gRPC's empty call.

Raw ids in, scores out, the server in a separate process.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.served_models import DEFAULT, ROW_RANKER, SET_RANKER, Request, ServedModels, server_process
from benchmarks.timing import call_seconds, percentile_ms
from runs.config import ModelConfig
from runs.provenance import machine
from serving.client import PredictClient
from serving.contract import signatures_with_flags
from serving.server.session import Session, Tensor, session_config
from serving.tensors import to_proto

_WARM, _BLOCK = 50, 100
_EMPTY = "/grpc.health.v1.Health/Check"
"""A call without content: of gRPC's health service, by the same server."""
_PERCENTILES = {"min_ms": 0, "p50_ms": 50, "p90_ms": 90, "p99_ms": 99}

Say = Callable[[str], None]
Call = Callable[[int], object]


def bench_serve(
    candidates: int = 1000,
    history: int = 200,
    requests: int = 1000,
    rounds: int = 3,
    signature: str = DEFAULT,
    seed: int = 1,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Measures the milliseconds from a call of the client to its answer, one request after the other.

    A set ranker is asked for one candidate set, and a row ranker for one row. The same requests run in a session of
    this process, without client and server, and gRPC's health service is called: all in turns, as other work on the
    machine slows them alike.

    Args:
      candidates, history: elements of each request.
      requests: calls of a round.
      rounds: the result is the median of their percentiles; all are kept.
      signature: of the set ranker, the one to call.
      seed: of the log and of the weights.
      say: receives progress messages.
    """
    with tempfile.TemporaryDirectory() as folder:
        say("simulating a log, learning its transform, exporting two models")
        models = ServedModels(Path(folder), candidates, history, seed)
        asked = [one._replace(signature=signature) for one in models.set_requests()], models.row_requests(1)
        paths = [models.export(name) for name in (SET_RANKER, ROW_RANKER)]
        xla = signature in signatures_with_flags(paths[0])
        say("starting the server")
        with (
            server_process(models.serving, xla, "--enable-grpc-healthcheck-service") as (address, _),
            PredictClient(address, timeout_s=60.0) as client,
            grpc.insecure_channel(address) as channel,
        ):
            empty = channel.unary_unary(_EMPTY)
            calls: dict[str, Call] = {"empty_call": lambda _: empty(b"")}
            for name, path, of_model in zip(("", "one_row"), paths, asked, strict=True):
                calls[name] = served(client, of_model)
                calls[f"{name}_in_process".strip("_")] = InProcess(path, of_model)
            say(f"asking {address}, {rounds} times {requests} requests")
            measured = [_round(calls, requests) for _ in range(rounds)]
    result = {key: float(np.median([one[key] for one in measured])) for key in measured[0]}
    for name in ("", "one_row"):
        parts = result[_key(f"{name}_in_process".strip("_"), "p50_ms")] + result["empty_call_p50_ms"]
        result[_key(name, "p50_ms_above_parts")] = result[_key(name, "p50_ms")] - parts
    return {
        **result,
        "rounds": measured,
        "candidates": candidates,
        "history": history,
        "requests": requests,
        "signature": signature,
        "model": ModelConfig().model_dump(include={"embedding_dim", "hidden_units"}),
        "seed": seed,
        "machine": machine(),
    }


def served(client: PredictClient, requests: Sequence[Request]) -> Call:
    """Returns a function that sends one of the requests after the other."""

    def call(number: int) -> object:
        request = requests[number % len(requests)]
        return client.predict(request.model, request.inputs, request.signature)

    return call


class InProcess:
    """A model in a session of this process, as the server has it; a call runs the graph on one of the requests.

    Args:
      directory: the SavedModel.
      requests: of one signature.
    """

    def __init__(self, directory: Path, requests: Sequence[Request]):
        self._session = Session(directory, session_config())
        signature = self._session.signatures[requests[0].signature]
        self._outputs = [info.name for info in signature.outputs.values()]
        self._inputs = [
            [
                (info.name, Tensor.parse(to_proto(request.inputs[name]).SerializeToString()))
                for name, info in signature.inputs.items()
            ]
            for request in requests
        ]

    def __call__(self, number: int) -> object:
        return self._session.run(self._inputs[number % len(self._inputs)], self._outputs)


def _round(calls: dict[str, Call], requests: int) -> dict[str, float]:
    """Makes so many calls of each kind, some at a time, and returns the percentiles of each kind."""
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in calls}
    for start in range(0, requests, _BLOCK):
        for name, call in calls.items():
            seconds[name].append(call_seconds(call, min(_BLOCK, requests - start), _WARM if not start else 5))
    return {
        _key(name, percentile): percentile_ms(np.concatenate(values), share)
        for name, values in seconds.items()
        for percentile, share in _PERCENTILES.items()
    }


def _key(name: str, percentile: str) -> str:
    return f"{name}_{percentile}" if name else percentile
