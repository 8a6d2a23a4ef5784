"""`consort score`."""

from pathlib import Path
from typing import Annotated

import typer

from consort.cli import places
from consort.cli.options import BeamArg, Data, JsonFile, Model, Runner, RunnerOption, beam_args_of
from consort.cli.output import save, show


def score(
    directory: Model,
    data: Data,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="New folder for Parquet files of scores.", parser=places.write),
    ],
    split: Annotated[str, typer.Option(metavar="SPLIT", help="train, eval, test, eval+test or all.")] = "all",
    runner: Runner = None,
    option: RunnerOption = None,
    beam_arg: BeamArg = None,
    json_file: JsonFile = None,
) -> None:
    """Score all records of a dataset, on any of Beam's runners.

    Each row has the ids and the time of a record, or of a candidate of a request, and its probability.

    Example: consort score /tmp/run --data /tmp/log --out /tmp/scores --split test
    """
    from serving.versions import find_saved_model

    model = find_saved_model(directory)
    from runs.bulk import score_dataset
    from transforms.beam.runners import LOCAL_ARGS

    result = score_dataset(model, data, out, split, beam_args_of(runner, option, beam_arg) or LOCAL_ARGS)
    result = {"model": str(model), "data": str(data), "out": str(out), "split": split, **result}
    show(result)
    save(result, json_file)
