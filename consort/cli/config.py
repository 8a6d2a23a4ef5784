"""`consort config`: show, check."""

from typing import Annotated

import typer

from consort.cli.output import table

app = typer.Typer(help="Run files: show one with its defaults, check one.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(help="A run file, or the name of a preset.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="key.path=value, over the file's; may be repeated.")]


@app.command(epilog="Example: consort config show simulated_deepfm --set training.epochs=2")
def show(
    run: Annotated[str | None, typer.Argument(help="A run file or a preset; none lists the presets.")] = None,
    set_: Set = None,
) -> None:
    """The resolved run file, defaults included."""
    from consort.config import load_config, presets

    if run is None:
        configs = {name: load_config(path) for name, path in presets().items()}
        table("Presets", ("name", "source", "model"), [(n, c.source, c.model.name) for n, c in configs.items()])
        return
    print(load_config(run, tuple(set_ or ())).to_yaml(), end="")


@app.command(epilog="Example: consort config check run.yaml")
def check(run: Run, set_: Set = None) -> None:
    """Whether a run file is right; says what is not."""
    from consort.config import load_config

    config = load_config(run, tuple(set_ or ()))
    print(f"{run}: right; config_sha256 {config.digest()}")
