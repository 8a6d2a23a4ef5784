"""`consort config`: show, check."""

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.output import JsonFile, save, say, table

app = typer.Typer(help="Run files: show one with its defaults, check one.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(help="A run file, or the name of a preset.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="key.path=value, over the file's; may be repeated.")]


@app.command(epilog="Example: consort config show simulated_deepfm --set training.epochs=2")
def show(
    run: Annotated[str | None, typer.Argument(help="A run file or a preset; none lists the presets.")] = None,
    set_: Set = None,
    json_file: JsonFile = None,
) -> None:
    """The resolved run file, defaults included."""
    from consort.config import load_config, presets

    if run is None:
        configs = {name: load_config(path) for name, path in presets().items()}
        table("Presets", ("name", "source", "model"), [(n, c.source, c.model.name) for n, c in configs.items()])
        save({n: c.model_dump(mode="json") for n, c in configs.items()}, json_file)
        return
    config = load_config(run, tuple(set_ or ()))
    print(config.to_yaml(), end="")
    save(config.model_dump(mode="json"), json_file)


@app.command(epilog="Example: consort config check run.yaml")
def check(
    run: Run,
    set_: Set = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A dataset: whether the run can be made of it, features and all.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Whether a run file is right; says what is not."""
    from consort.config import load_config

    config = load_config(run, tuple(set_ or ()))
    from runs.plan import check_names, check_run

    check_names(config)
    if data is not None:
        check_run(config, data)
    print(f"{run}: right; config_sha256 {config.digest()}")
    if data is None:
        say("its features and the model's options are checked against a dataset: name one with --data")
    save({"config_sha256": config.digest(), "config": config.model_dump(mode="json")}, json_file)
