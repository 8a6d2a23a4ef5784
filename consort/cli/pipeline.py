"""`consort pipeline`: run, graph."""

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.config import Run, Set
from consort.cli.models import Data
from consort.cli.output import JsonFile, Seed, check_unused, save, say, show, tell_changed, what_is_kept

app = typer.Typer(help="The TFX pipeline: run it, draw it.", no_args_is_help=True)

Root = Annotated[Path, typer.Option("--root", help="Everything that the pipeline writes lies here.")]
BeamArg = Annotated[list[str] | None, typer.Option(help="A Beam option, e.g. --beam-arg=--direct_num_workers=2.")]


@app.command(
    short_help="Validate, transform, train, evaluate, push.",
    epilog="Example: consort pipeline run simulated_deepfm --data /tmp/log --root /tmp/root",
)
def run(
    run: Run,
    data: Data,
    root: Root,
    set_: Set = None,
    beam_arg: BeamArg = None,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Data validation, transform, training, evaluation against the blessed model, push."""
    from consort.config import load_config

    config = load_config(run, _overrides(set_, beam_arg, seed))
    check_unused(root, config)
    from runs.plan import make_plan

    plan = make_plan(config, data, root, "--root")
    tell_changed(plan.changed_shards)
    say("loading TFX")
    from tfx_pipeline.run import run_pipeline

    result = run_pipeline(
        plan, lambda node, seconds: say(f"{node}: {'...' if seconds is None else f'{seconds:.1f} s'}")
    )
    if not result["new"]:
        say(f"version {result['version']} is this very model already; nothing was pushed")
    from serving.contract import read_contract

    show({**result, **what_is_kept(read_contract(result["model"])["run"])})
    save(result, json_file)


@app.command(epilog="Example: consort pipeline graph simulated_deepfm --data /tmp/log --root /tmp/root")
def graph(run: Run, data: Data, root: Root, set_: Set = None, json_file: JsonFile = None) -> None:
    """The pipeline's nodes and edges, as a Mermaid flowchart. Runs nothing and writes nothing."""
    from consort.config import load_config

    config = load_config(run, tuple(set_ or ()))
    from runs.plan import make_plan
    from tfx_pipeline.graph import edges, mermaid

    plan = make_plan(config, data, root, "--root")
    print(mermaid(plan))
    save({"edges": edges(plan)}, json_file)


def _overrides(set_: list[str] | None, beam_arg: list[str] | None, seed: int | None) -> tuple[str, ...]:
    import json

    overrides = list(set_ or ())
    if beam_arg:
        overrides.append(f"pipeline.beam_args={json.dumps(beam_arg)}")
    if seed is not None:
        overrides.append(f"seed={seed}")
    return tuple(overrides)
