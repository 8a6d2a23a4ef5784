"""A server in a process of its own under requests of no good will: what it answered, and what it grew by.

`python -m tests.helpers.fuzz_server --requests 100000` sends that many; the tests send fewer.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format

from serving import protocol, tensors
from serving.client import PredictClient
from serving.protocol import SERVICES
from tests.helpers.hostile_requests import crafted_tensors, malformed, request
from tests.helpers.source_tree import ROOT
from tests.serving import toy_models

BUILDERS = {
    "default": toy_models.half_plus_two,
    "colours": toy_models.colours,
    "echo": toy_models.echo,
    "odds": toy_models.odds_and_ends,
}
SIGNATURES = [("default", "serving_default", "x"), ("colours", "serving_default", "colour"), ("odds", "gather", "ids")]
SIGNATURES += [("odds", "weigh", "x"), *(("echo", dtype, "x") for dtype in toy_models.ECHOED)]
MOST_BYTES = 8 << 20
HANG_S, RELOAD_S = 20.0, 1.0
ANSWERS = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}
RELOAD_ANSWERS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
"""Of a new model that cannot be loaded, or is still being looked for at the call's deadline, or with the next call."""
METHODS = (
    *(("predict", "Predict"), ("predict", "Predict"), ("predict", "GetModelMetadata")),
    *(("model", "GetModelStatus"), ("predict", "Classify")),
)
RELOAD = ("model", "HandleReloadConfigRequest")
_RELOADS, _CRAFTED, _CHECKED = 200, 4, 500
"""One in so many requests is a configuration, a tensor whose parts contradict each other, followed by a check."""


class ServerProcess(subprocess.Popen[str]):
    """A server in a process of its own, and where it listens."""

    address: str

    def memory_mb(self, kind: str = "VmRSS") -> float:
        """Main memory now, or at most (`VmHWM`)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024

    def usage(self) -> dict[str, float]:
        """Memory, threads and open files."""
        threads, files = (len(list(Path(f"/proc/{self.pid}/{kind}").iterdir())) for kind in ("task", "fd"))
        return {"memory_mb": self.memory_mb(), "threads": threads, "files": files}


def models_config(root: Path) -> str:
    """The configuration of the models, in protobuf's text format."""
    entries = (f"config {{ name: '{n}' base_path: '{root / n}' model_platform: 'tensorflow' }}" for n in BUILDERS)
    return f"model_config_list {{ {' '.join(entries)} }}"


@contextlib.contextmanager
def server_process(root: Path) -> Iterator[ServerProcess]:
    """Writes the models and serves them."""
    for name, build in BUILDERS.items():
        build(root / name / "1")
    (root / "models.config").write_text(models_config(root))
    command = [sys.executable, "-m", "consort", "serve", f"--model_config_file={root / 'models.config'}"]
    command += ["--port", "0", "--no-xla", "--max-message-bytes", str(MOST_BYTES), "--load_retry_interval_micros=1000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ServerProcess(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.address = process.stdout.readline().strip().rpartition(" ")[2]
        try:
            yield process
        finally:
            process.kill()


Send = Callable[..., tuple[str, str]]


@contextlib.contextmanager
def sender(address: str) -> Iterator[Send]:
    """Sends bytes to a method and gives the code and the details of the answer."""
    with grpc.insecure_channel(address) as channel:
        calls: dict[tuple[str, str], Any] = {}

        def send(
            message: bytes, service: str = "predict", method: str = "Predict", timeout_s: float = HANG_S
        ) -> tuple[str, str]:
            call = calls.setdefault((service, method), channel.unary_unary(f"/{SERVICES[service]}/{method}"))
            try:
                call(message, timeout=timeout_s)
            except grpc.RpcError as error:
                return error.code().name, error.details() or ""
            return "OK", ""

        yield send


def valid_request() -> bytes:
    """A PredictRequest that is answered."""
    asked = protocol.PredictRequest(output_filter=["y"])
    asked.model_spec.name = "default"
    tensors.to_proto([2.0, 4.0], asked.inputs["x"])
    return bytes(asked.SerializeToString())


def reload_request(root: Path) -> bytes:
    """A ReloadConfigRequest of the models that there are."""
    asked = protocol.ReloadConfigRequest()
    text_format.Parse(models_config(root), asked.config)
    return bytes(asked.SerializeToString())


def check_answers(address: str) -> None:
    """Two models still answer as they should."""
    with PredictClient(address) as client:
        assert client.predict("default", {"x": [2.0, 4.0]}).outputs["y"].tolist() == [3.0, 4.0]
        assert client.predict("colours", {"colour": ["green", "mauve"]}).outputs["id"].tolist() == [1, -1]


def fuzz(process: ServerProcess, root: Path, count: int, seed: int) -> dict[str, Any]:
    """Sends `count` requests and returns the number of answers by code; whatever is wrong ends it.

    Raises:
      AssertionError: an answer that bad input may not have, none in time, a wrong answer to a valid request, or the
        end of the server.
    """
    chance, codes, slowest = random.Random(seed), Counter[str](), 0.0
    whole, configuration = valid_request(), reload_request(root)
    messages, configurations = malformed(seed, whole), malformed(seed + 1, configuration, protocol.ReloadConfigRequest)
    crafted = crafted_tensors(seed)
    with sender(process.address) as send:
        for number in range(count):
            allowed, timeout_s = ANSWERS, HANG_S
            if number % _RELOADS == _RELOADS - 1:
                service, method = RELOAD
                message, allowed, timeout_s = next(configurations), ANSWERS | RELOAD_ANSWERS, RELOAD_S
            elif number % _CRAFTED == 0:
                (service, method), (model, signature, name) = METHODS[0], chance.choice(SIGNATURES)
                message = request(model, signature, **{name: next(crafted)}).SerializeToString()
            else:
                (service, method), message = METHODS[number % len(METHODS)], next(messages)
            start = time.monotonic()
            code, details = send(message, service, method, timeout_s)
            slowest = max(slowest, time.monotonic() - start)
            assert process.poll() is None, f"request {number} of seed {seed} ended the server: {message!r}"
            assert code in allowed, f"request {number} of seed {seed}: {code}: {details}; {message!r}"
            codes[code] += 1
            if method == RELOAD[1]:
                _restore(send, process.address, configuration)
            if number % _CHECKED == 0:
                check_answers(process.address)
    check_answers(process.address)
    return {"answers": dict(codes), "slowest_s": round(slowest, 3)}


def _restore(send: Send, address: str, configuration: bytes) -> None:
    """Configures the models again, once the server has given up the configuration before."""
    for _ in range(200):
        if send(configuration, *RELOAD)[0] == "OK":
            break
        time.sleep(0.05)
    # A model that was there all the time and whose folder changed is not waited for.
    with PredictClient(address) as client:
        for name in BUILDERS:
            client.wait_available(name, HANG_S)


def main() -> None:
    """Runs the fuzzer from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server_process(Path(folder)) as process:
        # Memory has its usual size after some thousands.
        fuzz(process, Path(folder), asked.requests // 10, asked.seed + 1)
        before, start = process.usage(), time.monotonic()
        result = fuzz(process, Path(folder), asked.requests, asked.seed)
        result |= {"seconds": round(time.monotonic() - start, 1), "before": before, "after": process.usage()}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
