"""`consort config`: show, check."""

from pathlib import Path
from typing import Annotated

import typer

from consort.cli import places
from consort.cli.options import JsonFile, Run, Set
from consort.cli.output import save, say, table

app = typer.Typer(help="Show or check a run file.", no_args_is_help=True)


@app.command()
def show(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Run file, or name of a preset; none lists the presets.")
    ] = None,
    set_: Set = None,
    json_file: JsonFile = None,
) -> None:
    """Print a run file with its defaults, or list the presets.

    Example: consort config show simulated_deepfm --set training.epochs=2
    """
    from consort.config import load_config, presets

    if run is None:
        configs = {name: load_config(path) for name, path in presets().items()}
        table(
            "Presets", ("name", "source", "model"), [(n, c.source or "any", c.model.name) for n, c in configs.items()]
        )
        save({n: c.model_dump(mode="json") for n, c in configs.items()}, json_file)
        return
    config = load_config(run, tuple(set_ or ()))
    print(config.to_yaml(), end="")
    save(config.model_dump(mode="json"), json_file)


@app.command()
def check(
    run: Run,
    set_: Set = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="Dataset to check the features and the model's options against.",
            parser=places.read,
        ),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Check a run file, and report what is wrong with it.

    Example: consort config check run.yaml
    """
    from consort.config import load_config

    config = load_config(run, tuple(set_ or ()))
    from runs.plan import check_names, check_run

    check_names(config)
    if data is not None:
        check_run(config, data)
    print(f"{run}: valid; config_sha256 {config.digest()}")
    if data is None:
        say("not checked: the features and the model's options, which need a dataset; pass one with --data")
    save({"config_sha256": config.digest(), "config": config.model_dump(mode="json")}, json_file)
