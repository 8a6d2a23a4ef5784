"""`consort train`, `evaluate`, `export`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli.config import Run, Set
from consort.cli.output import JsonFile, Seed, check_unused, progress, save, say, show, tell_changed, what_is_kept

if TYPE_CHECKING:
    from evaluation.ranking import RankingDefinition
    from runs.evaluate import Scored

Data = Annotated[Path, typer.Option("--data", help="A dataset of `consort data`.")]


_RESAMPLE_HELP = "What the bootstrap draws, with all that belongs to it; by default users, where there are ids."
_SEEN_HELP = "Of two towers: leave out what a user was shown in the splits before."
_DEFINITION_HELP = "Means over requests, NDCG with the ideal divisor; or as RecFlow: over all clicks, without."


class _Definition(StrEnum):
    STANDARD = "standard"
    RECFLOW = "recflow"


class _Resample(StrEnum):
    USER = "user"
    REQUEST = "request"
    ROW = "row"


def train(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; the same command continues a killed one.")],
    set_: Set = None,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Train without TFX: transform, fit, export into OUT/model.

    Example: consort train simulated_deepfm --data /tmp/log --out /tmp/run
    """
    from consort.config import load_config

    overrides = (*(set_ or ()), *((f"seed={seed}",) if seed is not None else ()))
    config = load_config(run, overrides)
    check_unused(out, config)
    from runs.train import train_run

    result = train_run(config, data, out, say)
    for section in ("training", "recipe"):
        for warning in result.get(section, {}).get("warnings", []):
            say(f"warning: {warning}")
    apart = ("history", "best", "warnings", "changes")
    training = {key: value for key, value in result["training"].items() if key not in apart}
    summary = {"run": str(out), "seed": result["seed"], "training": training, **what_is_kept(result)}
    retrieval = {"retrieval": _with_intervals(result["retrieval"])} if "retrieval" in result else {}
    show(summary | retrieval)
    save(result, json_file)


def evaluate(
    directory: Annotated[Path, typer.Argument(help="A run, an exported model, or a pipeline's root.")],
    data: Data,
    split: Annotated[str, typer.Option(help="train, eval, test, eval+test or all.")] = "test",
    resamples: Annotated[
        int, typer.Option(help="Bootstrap resamples for the confidence intervals; 0 leaves them out.", min=0)
    ] = 200,
    resample: Annotated[_Resample | None, typer.Option(help=_RESAMPLE_HELP)] = None,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen", help=_SEEN_HELP)] = False,
    ranking_k: Annotated[
        str, typer.Option("--ranking-k", help="The k of recall@k and ndcg@k of requests.")
    ] = "10,50,100,200",
    ranking_definition: Annotated[
        _Definition, typer.Option("--ranking-definition", help=_DEFINITION_HELP)
    ] = _Definition.STANDARD,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Metrics with 95 % confidence intervals, raw features through the model's own transform.

    Of request records also over all candidates, shown or not (docs/metrics.md).

    Example: consort evaluate /tmp/run --data /tmp/log --split test
    """
    cut_offs = _cut_offs(ranking_k)
    definition: RankingDefinition = ranking_definition.value
    bootstrap: Any = {"resamples": resamples, "seed": 1 if seed is None else seed}
    bootstrap["resample"] = None if resample is None else resample.value
    from serving.versions import find_saved_model
    from transforms.records import load_dataset

    model = find_saved_model(directory)
    load_dataset(data)
    from runs.evaluate import metrics_of, retrieval_metrics, score

    with progress("scoring") as update:
        scored = score(model, data, split, progress=update)
    tell_changed(scored.changed_shards)
    metrics = metrics_of(scored, cut_offs=cut_offs, definition=definition, **bootstrap)
    retrieval = retrieval_metrics(model, data, split, exclude_seen, **bootstrap)
    result = {"model": str(model), "data": str(data), "split": split, **_sizes(scored, definition)}
    if resamples:
        result["resample"] = _drawn(metrics)
    shown = {**result, **({"retrieval": _with_intervals(retrieval)} if retrieval else {})}
    show({**shown, "metrics": _with_intervals(metrics)})
    from runs.provenance import machine

    told = {"retrieval": {"exclude_seen": exclude_seen, **retrieval}} if retrieval else {}
    save({**result, **told, "metrics": metrics, "machine": machine()}, json_file)


def _sizes(scored: "Scored", definition: "RankingDefinition") -> dict[str, Any]:
    """What was scored, and how much of it."""
    found: dict[str, Any] = {"dataset_sha256": scored.dataset_sha256, "examples": len(scored.label)}
    if scored.requests is None:
        return found
    from evaluation.ranking import MEANINGS

    return {
        **found,
        "requests": len(scored.requests.candidate),
        "candidates": int(scored.requests.candidate.sum()),
        "ranking": {"definition": definition, "meaning": MEANINGS[definition]},
    }


def _drawn(metrics: dict[str, float]) -> str | None:
    """What the bootstrap drew, as `--resample` calls it."""
    return next((kind.value for kind in _Resample if f"resampled_{kind.value}s" in metrics), None)


def _cut_offs(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) >= 1 for part in parts):
        from transforms.errors import InputError

        raise InputError("--ranking-k", repr(text), "whole numbers from 1, joined by commas", "give for example 10,50")
    return tuple(dict.fromkeys(map(int, parts)))


def _with_intervals(metrics: dict[str, Any]) -> dict[str, str]:
    """Each metric on one line, its interval behind it."""
    bounds = {f"{key}_{end}" for key in metrics for end in ("low", "high")}
    lines = {}
    for key in (key for key in metrics if key not in bounds):
        low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
        interval = "" if low is None or high is None else f"  [{low:.6g}, {high:.6g}]"
        lines[key] = f"{metrics[key]:.6g}{interval}" if isinstance(metrics[key], float) else str(metrics[key])
    return lines


def export(
    directory: Annotated[Path, typer.Argument(help="A run, or a pipeline's root.")],
    out: Annotated[Path, typer.Option("--out", help="The new version goes to OUT/<model>/<version>.")],
    json_file: JsonFile = None,
) -> None:
    """Publish a trained model as a SavedModel version: written beside, then renamed.

    Example: consort export /tmp/run --out /tmp/serving
    """
    from serving.versions import find_saved_model, model_name, publish
    from transforms.files import check_model_folder
    from transforms.locks import locked

    check_model_folder(out, "--out")
    model = find_saved_model(directory)
    base = out / model_name(model)
    with locked(base):
        target = publish(model, base)
    show({"model": model_name(model), "version": int(target.name), "directory": str(target)}, json_file)
