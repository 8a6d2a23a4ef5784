"""Metrics under TensorFlow Serving's names, on an HTTP page that Prometheus reads."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import Metric

from serving.protocol import CODES, ServingError
from transforms.errors import InputError

_BUCKETS = tuple(10 * 1.8**power for power in range(33))
"""Upper bounds in microseconds, those of TensorFlow Serving: about 20 minutes at most."""
_UNKNOWN_MODEL = ""
"""Stands for all names that are no model's: clients send what they like, and each name would take memory."""
_REMEMBERED_PATHS = 64
"""Versions whose loading is still shown."""
_REQUEST_S = 10.0


class Metrics:
    """What is counted and measured, for one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("serving:request_count", "The total number of requests.", "model_name", "status")
        self._request_latency = self._histogram(
            "serving:request_latency", "TensorFlow Serving request", "model_name", "API", "entrypoint"
        )
        self._runtime_latency = self._histogram(
            "serving:runtime_latency", "Tensorflow runtime", "model_name", "API", "runtime"
        )
        self._warmup_latency = self._histogram(
            "serving:model_warmup_latency", "warming up the model", "model_path", "status"
        )
        self._load_attempts = self._counter(
            "cc:saved_model:load_attempt_count",
            "The number of times a SavedModel was requested.",
            "model_path",
            "status",
        )
        self._load_latency = self._counter(
            "cc:saved_model:load_latency", "Latency in microseconds for SavedModels that were loaded.", "model_path"
        )
        self._paths: dict[str, None] = {}
        self._lock = threading.Lock()

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f":tensorflow:{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, *labels: str) -> Histogram:
        text = f"Distribution of wall time (in microseconds) for {what}."
        return Histogram(f":tensorflow:{name}", text, labels, registry=self._registry, buckets=_BUCKETS)

    def count_request(self, model: str | None, status: str, seconds: float) -> None:
        """Counts a Predict request, and its time if it was answered.

        Args:
          model: its name; None for a name that no model has.
          status: the status code's name.
          seconds: from its arrival to its answer.
        """
        name = _UNKNOWN_MODEL if model is None else model
        self._requests.labels(name, status).inc()
        if status == "OK":
            self._request_latency.labels(name, "Predict", "GRPC").observe(1e6 * seconds)

    def observe_run(self, model: str, seconds: float) -> None:
        """Records the time of a run in TensorFlow."""
        self._runtime_latency.labels(model, "Predict", "TF1").observe(1e6 * seconds)

    @contextmanager
    def load(self, path: str) -> Iterator[None]:
        """Counts an attempt to load the version in `path`, and its time if the block succeeds."""
        self._remember(path)
        start, status = time.perf_counter(), "fail"
        try:
            yield
            status = "success"
            self._load_latency.labels(path).inc(round(1e6 * (time.perf_counter() - start)))
        finally:
            self._load_attempts.labels(path, status).inc()

    @contextmanager
    def warmup(self, path: str) -> Iterator[None]:
        """Records the time of a warm-up and the code that it ended with; TensorFlow Serving has the text there, too."""
        start, status = time.perf_counter(), "UNKNOWN"
        try:
            yield
            status = "OK"
        except ServingError as error:
            status = error.code
            raise
        finally:
            self._warmup_latency.labels(path, status).observe(1e6 * (time.perf_counter() - start))

    def _remember(self, path: str) -> None:
        """Forgets the metrics of the oldest path when there are too many."""
        with self._lock:
            self._paths.pop(path, None)
            self._paths[path] = None
            if len(self._paths) <= _REMEMBERED_PATHS:
                return
            oldest = next(iter(self._paths))
            del self._paths[oldest]
        self._load_latency.remove(oldest)
        for status in ("success", "fail"):
            self._load_attempts.remove(oldest, status)
        for code in CODES:
            self._warmup_latency.remove(oldest, code)

    def page(self) -> bytes:
        """Returns everything in Prometheus' text format."""
        # Only in the lines before the samples, which hold no label.
        return re.sub(rb"(?m)^(# (?:HELP|TYPE) \S+)_total ", rb"\1 ", generate_latest(self))

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics under TensorFlow Serving's names: no `_total` behind counters, no times of creation."""
        for metric in self._registry.collect():
            shown = Metric(metric.name, metric.documentation, metric.type)
            shown.samples = [
                sample._replace(name=sample.name.removesuffix("_total"))
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
            yield shown


class MetricsPage:
    """The HTTP server of the page; anything but the page is an error 404, as there is no REST API.

    Args:
      metrics: what to show.
      host: address to bind.
      port: 0 takes a free one, see `port` afterwards.
      path: of the page.
    """

    def __init__(self, metrics: Metrics, host: str, port: int, path: str):
        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_S

            def do_GET(self) -> None:
                found = self.path.partition("?")[0] == path
                body = metrics.page() if found else b'{"error": "this server has no REST API"}\n'
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4" if found else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            fix = "stop what listens there, choose another port, or 0 for a free one"
            raise InputError("address of the metrics", f"{host}:{port}", "an address that is free", fix) from error
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
