"""`consort pipeline`: run, graph, compile."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from consort.cli import places
from consort.cli.options import (
    Baselines,
    BeamArg,
    Data,
    JsonFile,
    Run,
    Runner,
    RunnerOption,
    SeedOverride,
    Set,
    beam_args_of,
    check_unused,
    overrides,
)
from consort.cli.output import describe_best, report_changed, report_warnings, save, say, show, show_baselines
from transforms.errors import FaultyData, GateRefused

app = typer.Typer(help="Run, draw or compile the TFX pipeline.", no_args_is_help=True)

Root = Annotated[
    Path,
    typer.Option(
        "--root", metavar="FOLDER", help="Folder for everything that the pipeline writes.", parser=places.write_root
    ),
]


@app.command()
def run(
    run: Run,
    data: Data,
    root: Root,
    set_: Set = None,
    runner: Runner = None,
    option: RunnerOption = None,
    beam_arg: BeamArg = None,
    baselines: Baselines = True,
    seed: SeedOverride = None,
    json_file: JsonFile = None,
) -> None:
    """Validate, transform, train, evaluate and push with TFX.

    The new model is pushed if it passes the gates, one of which compares it with the last blessed model.

    Example: consort pipeline run simulated_deepfm --data /tmp/log --root /tmp/tfx
    """
    from consort.config import load_config

    beam_args = beam_args_of(runner, option, beam_arg)
    left_out = {} if baselines else {"baselines": False}
    config = load_config(run, overrides(set_, {"pipeline.beam_args": beam_args, "seed": seed, **left_out}))
    check_unused(root, config)
    from runs.plan import make_plan

    try:
        plan = make_plan(config, data, root, "--root")
    except FaultyData as error:
        raise GateRefused("the data gate", [str(error)]) from error
    report_changed(plan.changed_shards)
    say("loading TFX")
    from tfx_pipeline.run import run_pipeline

    result = run_pipeline(plan, lambda node, seconds: say(f"{node}: {seconds:.1f} s"))
    if not result["new"]:
        say(f"version {result['version']} is already this model; nothing was pushed")
    from serving.contract import read_contract

    trained = read_contract(result["model"])["run"]
    report_warnings(trained)
    apart = ("evaluation",)
    shown = {key: value for key, value in result.items() if key not in apart}
    show({"seconds": result["seconds"], **describe_best(trained), **shown})
    show_baselines(result["evaluation"])
    save(result, json_file)


@app.command()
def graph(run: Run, data: Data, root: Root, set_: Set = None, json_file: JsonFile = None) -> None:
    """Print the pipeline's nodes as a Mermaid flowchart.

    Runs nothing and writes nothing.

    Example: consort pipeline graph simulated_deepfm --data log --root tfx
    """
    from consort.config import load_config

    config = load_config(run, tuple(set_ or ()))
    from runs.plan import make_plan
    from tfx_pipeline.pipeline import edges, mermaid

    plan = make_plan(config, data, root, "--root")
    print(mermaid(plan))
    save({"edges": edges(plan)}, json_file)


@app.command("compile")
def compile_(
    run: Run,
    data: Data,
    root: Annotated[str, typer.Option("--root", metavar="URI", help="Remote folder that the pipeline writes to.")],
    image: Annotated[str, typer.Option(metavar="IMAGE", help="Container image with Consort.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write, .json or .yaml.")],
    data_uri: Annotated[
        str, typer.Option("--data-uri", metavar="URI", help="Where the pipeline reads the same dataset.")
    ],
    orchestrator: Annotated[
        Literal["vertex", "kubeflow"], typer.Option(help="Where the pipeline will run.")
    ] = "vertex",
    set_: Set = None,
    beam_arg: BeamArg = None,
) -> None:
    """Compile the TFX pipeline for Vertex AI or Kubeflow.

    The run is checked against the data here; the file names no path of this machine.

    Example: consort pipeline compile simulated_deepfm --data log --data-uri gs://b/log --root gs://b/tfx --image
    IMAGE --out pipeline.json
    """
    from consort.config import load_config

    config = load_config(run, overrides(set_, {"pipeline.beam_args": beam_arg}))
    say("loading TFX")
    from tfx_pipeline.compile import compile_pipeline, write_spec

    spec = compile_pipeline(config, data, data_uri, root, image, orchestrator)
    write_spec(spec, out)
    tasks = spec.get("pipelineSpec", spec)["root"]["dag"]["tasks"]
    show({"file": str(out), "orchestrator": orchestrator, "tasks": len(tasks)})
