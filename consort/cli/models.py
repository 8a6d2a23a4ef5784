"""`consort train`, `evaluate`, `export`."""

from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli import places
from consort.cli.options import (
    Baselines,
    Data,
    JsonFile,
    Model,
    Run,
    RunOut,
    Seed,
    SeedOverride,
    Set,
    check_unused,
    overrides,
)
from consort.cli.output import (
    clock,
    describe_best,
    progress,
    report_changed,
    report_warnings,
    save,
    say,
    show,
    show_baselines,
)

if TYPE_CHECKING:
    from evaluation.comparison import Comparison
    from evaluation.ranking import RankingDefinition
    from runs.evaluate import Load, Scored


_RESAMPLE_HELP = "Unit of the bootstrap; default: users if the dataset has user ids."
_TRAIN_DATA_HELP = "Dataset to fit baselines on, e.g. the model's, where another is evaluated."
_SEEN_HELP = "For two-tower models: exclude items that the user was shown in earlier splits."
_DEFINITION_HELP = "standard: averaged over requests, NDCG divided by the ideal DCG; recflow: as in RecFlow's paper."


_APART = ("baselines", "gain", "baselines_fitted", "warnings")
"""Of a result, what has lines of its own."""


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
    out: RunOut,
    set_: Set = None,
    baselines: Baselines = True,
    seed: SeedOverride = None,
    json_file: JsonFile = None,
) -> None:
    """Train a model without TFX, and export it to OUT/model.

    Example: consort train simulated_deepfm --data /tmp/log --out /tmp/run
    """
    from consort.config import load_config

    config = load_config(run, overrides(set_, {"seed": seed, "baselines": None if baselines else False}))
    check_unused(out, config)
    from runs.train import train_run

    result = train_run(config, data, out, say)
    report_warnings(result)
    apart = ("history", "best", "warnings", "changes")
    training = {key: value for key, value in result["training"].items() if key not in apart}
    summary = {"run": str(out), "seed": result["seed"], "training": training, **describe_best(result)}
    show(summary | ({"retrieval": _with_intervals(result["retrieval"])} if "retrieval" in result else {}))
    for key in ("retrieval", "evaluation"):
        show_baselines(result.get(key, {}))
    save(result, json_file)


def evaluate(
    directory: Model,
    data: Data,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="train, eval, test, eval+test or all.")] = "test",
    resamples: Annotated[
        int, typer.Option(metavar="N", help="Number of bootstrap resamples; 0: no confidence intervals.", min=0)
    ] = 200,
    resample: Annotated[_Resample | None, typer.Option(help=_RESAMPLE_HELP)] = None,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen", help=_SEEN_HELP)] = False,
    ranking_k: Annotated[
        str, typer.Option("--ranking-k", metavar="K,K", help="Values of k for recall@k and ndcg@k.")
    ] = "10,50,100,200",
    ranking_definition: Annotated[
        _Definition, typer.Option("--ranking-definition", help=_DEFINITION_HELP)
    ] = _Definition.STANDARD,
    baselines: Baselines = True,
    train_data: Annotated[
        Path | None, typer.Option("--train-data", metavar="DATA", help=_TRAIN_DATA_HELP, parser=places.read)
    ] = None,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Compute metrics with 95 % confidence intervals.

    Raw records pass through the transform inside the model. Request records are also ranked over all their
    candidates, shown or not (docs/metrics.md).

    Example: consort evaluate /tmp/run --data /tmp/log --split test
    """
    ranking: tuple[Any, RankingDefinition] = (_cut_offs(ranking_k), ranking_definition.value)
    bootstrap: Any = {"resamples": resamples, "seed": seed, "resample": None if resample is None else resample.value}
    from serving.versions import find_saved_model
    from transforms.records import load_dataset

    model, load = find_saved_model(directory), _loading_once()
    from runs.evaluate import retrieval_metrics, score
    from runs.off_policy import off_policy_metrics, shown_at_random

    with progress("scoring", "records") as update:
        scored = score(model, data, split, progress=update, load=load)
    report_changed(scored.changed_shards)
    compared, notes = _compared(scored, (model, data, split, load, train_data), ranking, bootstrap, baselines)
    with clock("retrieving"):
        retrieval = retrieval_metrics(model, data, split, exclude_seen, **bootstrap, baselines=baselines)
    with progress("estimating what the model would earn", "rows") as update:
        off_policy = off_policy_metrics(model, data, split, progress=update, load=load, **bootstrap)
    result = {"model": str(model), "data": str(data), "split": split, **_sizes(scored, ranking[1])}
    if shown_at_random(load_dataset(data), split, off_policy):
        result["exposure"] = "random: no policy's choice biases these metrics"
    result |= {"resample": _drawn(compared.metrics)} if resamples else {}
    apart = {name: _with_intervals(one) for name, one in (("retrieval", retrieval), ("off_policy", off_policy)) if one}
    show({**result, **apart, "metrics": _with_intervals(compared.metrics)})
    show_baselines({"split": split, **retrieval})
    show_baselines({"split": split, **compared.metrics, **notes})
    from runs.provenance import machine

    reported = {"retrieval": {"exclude_seen": exclude_seen, **retrieval}} if retrieval else {}
    reported |= {"off_policy": off_policy} if off_policy else {}
    result |= {**_warnings(compared), **reported, **notes, "metrics": compared.metrics, "machine": machine()}
    save(result, json_file)


def _loading_once() -> "Load":
    from serving.loading import Scorer

    return lru_cache(maxsize=1)(Scorer)


def _compared(
    scored: "Scored",
    where: tuple[Path, Path, str, "Load", Path | None],
    ranking: tuple[tuple[int, ...], "RankingDefinition"],
    bootstrap: dict[str, Any],
    baselines: bool,
) -> tuple["Comparison", dict[str, Any]]:
    """Returns the model's metrics beside those of baselines, and what the result reports of these."""
    from evaluation.comparison import compare
    from runs.baselines.beside import ranking_baselines, scores_of
    from runs.evaluate import prepared_of

    prepared = prepared_of(scored, *ranking, bootstrap["resample"])
    fitted = None
    if baselines:
        with clock("fitting baselines"):
            fitted = ranking_baselines(*where)
    resamples, seed = bootstrap["resamples"], bootstrap["seed"]
    with clock(f"computing metrics, {resamples} resamples" if resamples else "computing metrics"):
        compared = compare(prepared, scores_of(scored, fitted) if baselines else {}, resamples, seed)
    if not baselines:
        return compared, {}
    if fitted is None:
        why = "the dataset has no train and eval split, or these are evaluated and the model is of another dataset"
        say(f"no baselines: {why} (name it by --train-data), or the model exports no transform_features")
    notes = {} if fitted is None else fitted.notes
    return compared, {"baselines": compared.baselines, "gain": compared.gain, "baselines_fitted": notes}


def _sizes(scored: "Scored", definition: "RankingDefinition") -> dict[str, Any]:
    """Returns what was scored: the dataset and the number of examples, requests and candidates."""
    sizes: dict[str, Any] = {"dataset_sha256": scored.dataset_sha256, "examples": len(scored.label)}
    from transforms.features import WEIGHT

    if WEIGHT in scored.extra:
        sizes["sum_of_weights"] = float(scored.extra[WEIGHT].sum(dtype="float64"))
    if scored.requests is None:
        return sizes
    from evaluation.ranking import MEANINGS

    return {
        **sizes,
        "requests": len(scored.requests.candidate),
        "candidates": int(scored.requests.candidate.sum()),
        "ranking": {"definition": definition, "meaning": MEANINGS[definition]},
    }


def _warnings(compared: "Comparison") -> dict[str, list[str]]:
    """Reports a model that is no better than the mean click rate or a baseline; returns that as `warnings`."""
    from runs.baselines.verdict import warnings_of

    warnings, ne = warnings_of(compared), compared.metrics.get("ne", 0.0)
    if ne >= 1:
        warnings.insert(
            0,
            f"the model is no better than the mean click rate: ne is {ne:.4f}; expected below 1; train it for more "
            "steps (training.epochs, a smaller training.batch_size), or check that the data is of the same kind",
        )
    for warning in warnings:
        say(f"warning: {warning}")
    return {"warnings": warnings} if warnings else {}


def _drawn(metrics: dict[str, float]) -> str | None:
    """Returns the unit that the bootstrap resampled, as `--resample` names it."""
    return next((kind.value for kind in _Resample if f"resampled_{kind.value}s" in metrics), None)


def _cut_offs(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) >= 1 for part in parts):
        from transforms.errors import InputError

        raise InputError("--ranking-k", repr(text), "positive integers separated by commas", "pass for example 10,50")
    return tuple(dict.fromkeys(map(int, parts)))


def _with_intervals(metrics: dict[str, Any]) -> dict[str, str]:
    """Formats each metric with its interval."""
    bounds = {f"{key}_{end}" for key in metrics for end in ("low", "high")}
    lines = {}
    for key in (key for key in metrics if key not in bounds and key not in _APART):
        low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
        interval = "" if low is None or high is None else f"  [{low:.6g}, {high:.6g}]"
        lines[key] = f"{metrics[key]:.6g}{interval}" if isinstance(metrics[key], float) else str(metrics[key])
    return lines


def export(
    directory: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Run, or root of a pipeline.", parser=places.read_model)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="OUT",
            help="The version is written to OUT/<model>/<version>.",
            parser=places.write_model,
        ),
    ],
    json_file: JsonFile = None,
) -> None:
    """Publish a trained model as a new SavedModel version.

    The version is written to a temporary folder and renamed, so that a server never sees half of it. Beside it,
    OUT/batching_parameters.pbtxt is for a TensorFlow Serving that joins requests to batches.

    Example: consort export /tmp/run --out /tmp/serving
    """
    from serving.batching import SERVER_PARAMETERS, write_server_parameters
    from serving.versions import find_saved_model, model_name, publish
    from transforms.files import check_model_folder
    from transforms.locks import locked

    check_model_folder(out, "--out")
    model = find_saved_model(directory)
    base = out / model_name(model)
    with locked(base), clock("exporting"):
        target = publish(model, base)
        write_server_parameters(out / SERVER_PARAMETERS)
    show({"model": model_name(model), "version": int(target.name), "directory": str(target)}, json_file)
