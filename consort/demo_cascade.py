"""The demo's queries: golden records of each model, and the whole cascade."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transforms.errors import ConsortError

STAGES = ("retrieval", "pre-ranking", "ranking")
RETRIEVED, PRERANKED, RANKED = 200, 50, 10
USERS, CALLS = 25, 100
Say = Callable[[str], None]


def query_models(models: Mapping[str, str], root: Path, data: Path, say: Say) -> dict[str, Any]:
    """Serves all models from another process and queries them.

    Args:
      models: folder of the pushed version by stage: `retrieval`, `pre-ranking`, `ranking`.
      root: root folder of the pipelines.
      data: folder of the dataset.
      say: called with a line of progress.

    Returns:
      `largest_difference` of each stage's served scores from the trained ones, `tolerance`, `cascade`, `query`.

    Raises:
      GateRefused: a served score differs from the trained one.
      ConsortError: the server does not start.
    """
    from serving.client import PredictClient
    from serving.export.golden import TOLERANCE
    from serving.retrieval.golden import check_golden_retrieval
    from serving.versions import model_name

    names = {stage: model_name(path) for stage, path in models.items()}
    with _server(root) as address, PredictClient(address, timeout_s=30.0) as client:
        say(f"querying {', '.join(names.values())} at {address}")
        differences = {stage: _difference(client, names[stage], path) for stage, path in models.items()}

        def retrieve(inputs: dict[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
            answer = client.retrieve(names["retrieval"], inputs, k)
            return answer.item_ids, answer.scores

        check_golden_retrieval(models["retrieval"], retrieve)
        cascade, query = _cascade(address, names, models, root.parent / "cascade.yaml", data)
    return {"largest_difference": differences, "tolerance": TOLERANCE, "cascade": cascade, "query": query}


@contextlib.contextmanager
def _server(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "consort", "serve", str(root), "--port", "0"]
    log = root.parent / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None  # noqa: S101, the pipe was asked for
            line = process.stdout.readline()
            if " on " not in line:
                raise ConsortError(f"the server did not start; it wrote {line!r} and, last,\n{log.read_text()[-1000:]}")
            yield line.rsplit(" on ", 1)[1].strip()
        finally:
            process.terminate()
            process.wait(timeout=30)


def _difference(client: Any, name: str, model: str) -> float:
    """Returns the largest difference of served probabilities from the trained ones over the signatures."""
    from serving.contract import signatures_with_flags
    from serving.export.golden import check_golden
    from serving.export.signatures import DEFAULT, EXAMPLES

    def ask(signature: str, inputs: Mapping[str, Any]) -> Any:
        return client.predict(name, inputs, signature).outputs

    differences = check_golden(model, ask, signatures_with_flags(model))
    return max(differences[signature] for signature in (DEFAULT, EXAMPLES))


def _cascade(
    address: str, names: Mapping[str, str], models: Mapping[str, str], file: Path, data: Path
) -> tuple[dict[str, Any], list[list[str]]]:
    """Writes the cascade's file, measures the latency over some users, and returns it with the first user's answer."""
    from serving.cascade import Cascade, load_cascade
    from serving.retrieval.item_table import read_items
    from transforms.files import write_text

    write_text(file, _cascade_file(names, models, file.parent))
    config = load_cascade(file)
    config = config.model_copy(
        update={"stages": tuple(one.model_copy(update={"server": address}) for one in config.stages)}
    )  # fmt: skip
    items, users = read_items(models["retrieval"]), _users(data)
    with Cascade(config) as cascade:
        cascade.wait_ready()
        first = cascade.answer(users[0])
        milliseconds, fallbacks = [], 0
        for call in range(CALLS):
            answer = cascade.answer(users[call % len(users)])
            milliseconds.append(answer.milliseconds)
            fallbacks += bool(answer.fallbacks)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    report = {
        "catalogue": len(items),
        "items": [len(answer.item_ids) for answer in first.stages],
        "stage_ms": [answer.milliseconds for answer in first.stages],
        "versions": {answer.model: answer.version for answer in first.stages},
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "calls": CALLS,
        "calls_with_fallback": fallbacks,
    }
    return report, _table(first.stages, items)


def _cascade_file(names: Mapping[str, str], models: Mapping[str, str], folder: Path) -> str:
    """Returns a file for `consort cascade`, with paths relative to its folder."""
    lines = [
        "# Start the server with: consort serve pipeline",
        "# Then: consort cascade cascade.yaml --data data",
        "timeout_ms: 3000",
        "stages:",
    ]
    for stage, keep in zip(STAGES, (RETRIEVED, PRERANKED, RANKED), strict=True):
        base = os.path.relpath(Path(models[stage]).parent, folder)
        lines += [
            f"  - name: {stage}",
            f"    model: {names[stage]}",
            "    server: 127.0.0.1:8500",
            f"    keep: {keep}",
            "    timeout_ms: 1000",
            f"    folder: {json.dumps(base)}",
        ]
    return "\n".join(lines) + "\n"


def _table(answers: Any, items: Any) -> list[list[str]]:
    all_ranks = [{item: rank for rank, item in enumerate(answer.item_ids.tolist())} for answer in answers]
    rows = []
    for item in answers[-1].item_ids.tolist():
        cells = [item.decode(), items.rows([item])["item_category"][0].decode()]
        for answer, ranks in zip(answers, all_ranks, strict=True):
            cells.append(f"{ranks[item] + 1} ({answer.scores[ranks[item]]:.2f})")
        rows.append(cells)
    return rows


def _users(data: Path) -> list[dict[str, np.ndarray]]:
    """Returns the raw columns of the first users of the test split."""
    from serving.export.requests import request_inputs
    from transforms.features import with_lengths
    from transforms.input import first_examples
    from transforms.records import load_dataset, shard_paths

    dataset = load_dataset(data)
    examples = first_examples(shard_paths(data, dataset, "row", "test"), 50 * USERS)
    names = [column.name for column in with_lengths(dataset.feature_set.columns_of("row"))]
    columns = request_inputs(examples, dataset.feature_set, "row", names)
    _, first = np.unique(columns["request_id"].astype("S"), return_index=True)
    return [{name: values[[place]] for name, values in columns.items()} for place in sorted(first)[:USERS]]
