"""Options that several verbs share, each declared once."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli import places
from transforms.errors import InputError
from transforms.files import check_folder, check_local
from transforms.locks import check_unlocked

if TYPE_CHECKING:
    from runs.config import RunConfig

MAX_SEED = 2**32 - 1


class RunnerName(StrEnum):
    """Where Beam runs."""

    LOCAL = "local"
    DATAFLOW = "dataflow"
    FLINK = "flink"
    SPARK = "spark"


def _check_json_file(path: Path | None) -> Path | None:
    # Checked before the work, which may take hours, and not when its result is to be written.
    if path is not None:
        if path.is_dir():
            raise InputError(f"--json {path}", "a folder", "the path of a file, new or existing", "name a file in it")
        check_local(path, "--json")
        check_folder(path.parent, "--json")
    return path


def check_records(verb: str, data: Path | None, inputs: Path | None, split: str, expected: str) -> None:
    """Checks the options that name the records of a request, so that mistakes are reported without a server.

    Args:
      verb: that is called.
      data: `--data`, a dataset.
      inputs: `--inputs`, a JSON file.
      split: of the dataset.
      expected: what the JSON file holds.

    Raises:
      InputError: both or neither are given, or what is given is not there.
    """
    from transforms.records import load_dataset, split_named

    if (data is None) == (inputs is None):
        raise InputError(verb, "both or neither of --data and --inputs", "one of them", "pass one")
    if data is not None:
        load_dataset(data)
        split_named(split)
    elif not Path(inputs or "").is_file():
        raise InputError(f"--inputs {inputs}", "no such file", expected, "correct the path")


JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Also write the result as JSON.",
        callback=_check_json_file,
        parser=places.write_file,
    ),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Run file, or name of a preset.", parser=places.read_text)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the run file, e.g. seed=7; repeatable."),
]
Data = Annotated[
    Path,
    typer.Option("--data", metavar="FOLDER", help="Dataset made by `consort data`.", parser=places.read),
]
RunOut = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Folder of the run; the same command resumes a stopped run.",
        parser=places.write_model,
    ),
]
Model = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="Run, exported model, or root of a pipeline.", parser=places.read_model),
]
Runner = Annotated[
    RunnerName | None, typer.Option("--runner", help="Where Beam runs; default: in this process (docs/runners.md).")
]
RunnerOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="Option of the runner, e.g. workers=2; repeatable."),
]
BeamArg = Annotated[
    list[str] | None,
    typer.Option(metavar="ARG", help="Beam option, e.g. --beam-arg=--direct_num_workers=2; repeatable."),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Random seed.", min=0, max=MAX_SEED)]
SeedOverride = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Random seed; overrides the file's.", min=0, max=MAX_SEED)
]
Baselines = Annotated[
    bool, typer.Option("--baselines/--no-baselines", help="Compare with simple models (docs/metrics.md).")
]
Rounds = Annotated[int, typer.Option(metavar="N", help="Number of rounds; the median is reported.", min=1)]
Threads = Annotated[int, typer.Option(metavar="N", help="Number of threads.", min=1)]
Fast = Annotated[bool, typer.Option("--fast", help="Tiny sizes, for trying the command; not for measuring.")]


def beam_args_of(runner: str | None, option: Sequence[str] | None, beam_arg: Sequence[str] | None) -> list[str] | None:
    """Returns Beam's options from `--runner`, `--option` and `--beam-arg`; None if none of them is passed."""
    if runner is None and not option:
        return list(beam_arg) if beam_arg else None
    from transforms.beam.runners import runner_args

    return [*runner_args(runner, option or ()), *(beam_arg or ())]


def split_options(option: Sequence[str], source: str, runner: str | None) -> tuple[list[str], list[str]]:
    """Returns the options of a source and those of a runner; without `--runner` all are the source's.

    Args:
      option: `key=value` pairs.
      source: name of a source of `consort data list`; empty: a declaration, which has no options.
      runner: of `--runner`.
    """
    if runner is None:
        return list(option), []
    from transforms.sources.registry import source_class

    names = source_class(source).Options.model_fields if source else ()
    of_source = [pair for pair in option if pair.partition("=")[0] in names]
    return of_source, [pair for pair in option if pair not in of_source]


def source_options(option: Sequence[str], seed: int | None) -> dict[str, Any]:
    """Returns the options of a source from `key=value` pairs and `--seed`."""
    from runs.config import yaml_value
    from transforms.errors import InputError

    options: dict[str, Any] = {} if seed is None else {"seed": seed}
    for pair in option:
        key, separator, value = pair.partition("=")
        if not separator:
            raise InputError("--option", repr(pair), "key=value", "write it as, for example, --option discretise=x4")
        options[key] = yaml_value(value, f"--option {pair}")
    return options


def overrides(set_: Sequence[str] | None, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns `--set` followed by the options that override a key of the run file.

    Args:
      set_: values of `--set`.
      options: value of an option by run-file key; None or an empty list where the option was not passed.
    """
    passed = {key: value for key, value in options.items() if value is not None and value != []}
    return (*(set_ or ()), *(f"{key}={json.dumps(value)}" for key, value in passed.items()))


def check_unused(folder: Path, config: "RunConfig") -> None:
    """Refuses a folder that another run is using, before TensorFlow is loaded, which takes seconds.

    Raises:
      InputError: the folder is in use.
    """
    # The processes of a distributed run share its folder, and its chief holds the lock.
    if config.training.distribution in ("none", "mirrored"):
        check_unlocked(folder)
