"""`consort cascade`."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli import places
from consort.cli.options import JsonFile, check_records
from consort.cli.output import save, say


def cascade(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file of the stages; see docs/cascade.md.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FOLDER", help="Dataset of raw records: its first users.", parser=places.read),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", metavar="FILE", help="JSON file: the columns of users, or a user per line."),
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="Split of the dataset.")] = "test",
    count: Annotated[int, typer.Option(metavar="N", help="Number of users, in one call.", min=1)] = 1,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="ID", help="Item id to leave out; repeatable.")
    ] = None,
    repeat: Annotated[
        int, typer.Option(metavar="N", help="Number of calls; percentiles of their latency are printed.", min=1)
    ] = 1,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time to wait for all servers; 0: fall back at once.", min=0.0)
    ] = 5.0,
    models_config: Annotated[
        Path | None,
        typer.Option(
            "--models-config", metavar="FOLDER", help="Only write the model_config_file of each server there."
        ),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Ask all stages of a cascade for a user's items, in one call.

    Example: consort cascade cascade.yaml --data /tmp/log
    """
    from serving.cascade.config import load_cascade, write_models_configs
    from transforms.errors import InputError

    config = load_cascade(file)
    if models_config is not None:
        if data is not None or inputs is not None:
            received = "--models-config and --data or --inputs"
            raise InputError("consort cascade", received, "one of them", "call it twice")
        for server, path in write_models_configs(config, models_config).items():
            print(f"{path}  for {server}: tensorflow_model_server --model_config_file={path}")
        return
    check_records("consort cascade", data, inputs, split, "a JSON file of users' columns")

    def users_of(stages: Any) -> Mapping[str, Any]:
        return _users_of(data, split, count) if data is not None else _users_in(inputs or Path(), stages)

    answers, milliseconds = _ask(config, wait, users_of, exclude or [], repeat)
    _show(answers, sorted(milliseconds))
    save({"answers": [as_json(answer) for answer in answers], "milliseconds": milliseconds}, json_file)


def _ask(
    config: Any, wait: float, users_of: Callable[[Any], Mapping[str, Any]], exclude: Sequence[str], repeat: int
) -> tuple[list[Any], list[float]]:
    """Returns the answers of the last of `repeat` calls, and the milliseconds of each."""
    from serving.cascade import Cascade
    from serving.client import ServingError

    with Cascade(config) as stages:
        if wait:
            try:
                stages.wait_ready(wait)
            except ServingError as error:
                say(f"not all servers are ready: {error}")
        users = users_of(stages)
        size, milliseconds = len(next(iter(users.values()))), []
        for _ in range(repeat):
            start = time.perf_counter()
            answers = stages.answer_many(users, [exclude] * size)
            milliseconds.append(1e3 * (time.perf_counter() - start))
    return answers, milliseconds


def as_json(answer: Any) -> dict[str, Any]:
    """Returns an answer as values of JSON; a score that is none is null."""
    from consort.cli.retrieval import listed

    def scores(values: Any) -> list[float | None]:
        return [None if math.isnan(one) else one for one in values.tolist()]

    stages = [
        {
            **{name: value for name, value in vars(stage).items() if name not in ("item_ids", "scores")},
            "item_ids": listed(stage.item_ids),
            "scores": scores(stage.scores),
        }
        for stage in answer.stages
    ]
    return {
        "item_ids": listed(answer.item_ids),
        "scores": scores(answer.scores),
        "fallbacks": answer.fallbacks,
        "milliseconds": answer.milliseconds,
        "stages": stages,
    }


def _show(answers: Sequence[Any], milliseconds: Sequence[float]) -> None:
    for place, answer in enumerate(answers, 1):
        if len(answers) > 1:
            print(f"user {place}")
        width = max(len(stage.stage) for stage in answer.stages)
        print(f"{'stage':<{width}}  {'version':>10}  {'items':>5}  {'ms':>6}  answer")
        for stage in answer.stages:
            version = "-" if stage.version is None else stage.version
            said = f"fallback: {stage.fallback}" if stage.fallback else _notes(stage)
            print(
                f"{stage.stage:<{width}}  {version:>10}  {len(stage.item_ids):>5}  {stage.milliseconds:>6.1f}  {said}"
            )
        result = as_json(answer)
        print()
        for item, score in zip(result["item_ids"], result["scores"]):
            print(f"{item}  {'-' if score is None else f'{score:.4f}'}")
        print()
    p50, p99 = (milliseconds[min(len(milliseconds) - 1, int(q * len(milliseconds)))] for q in (0.5, 0.99))
    print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms" if len(milliseconds) > 1 else f"{p50:.1f} ms")


def _notes(stage: Any) -> str:
    notes = []
    if stage.unscored:
        notes.append(f"{stage.unscored} items without a finite score")
    if stage.unknown_items:
        notes.append(f"{stage.unknown_items} items without columns")
    if stage.missing_columns:
        notes.append(f"without {', '.join(stage.missing_columns)}")
    return "; ".join(notes) or "ok"


def _users_of(data: Path, split: str, count: int) -> Mapping[str, Any]:
    """Returns the columns of the first users of a dataset."""
    from serving.export.requests import request_inputs
    from serving.retrieval.catalogue import user_columns
    from transforms.features import RecordKind, with_lengths
    from transforms.input import first_examples
    from transforms.records import load_dataset, shard_paths, split_named

    dataset = load_dataset(data)
    record: RecordKind = "request" if "request" in dataset.records else "row"
    examples = first_examples(shard_paths(data, dataset, record, split_named(split)), count)
    names = [column.name for column in with_lengths(user_columns(dataset.feature_set))]
    return request_inputs(examples, dataset.feature_set, record, names)


def _users_in(path: Path, stages: Any) -> Mapping[str, Any]:
    from serving.client.json_inputs import read_inputs

    return read_inputs(path, stages.user_signature())
