"""`consort online`."""

from pathlib import Path
from typing import Annotated

import typer

from consort.cli import places
from consort.cli.options import JsonFile, Run, RunOut, SeedOverride, Set, check_unused, overrides
from consort.cli.output import save, say, show


def online(
    run: Run,
    stream: Annotated[
        Path,
        typer.Option(
            "--stream", metavar="FOLDER", help="Folder of spans; see `consort data spans`.", parser=places.follow
        ),
    ],
    out: RunOut,
    serve: Annotated[
        Path | None,
        typer.Option(
            "--serve",
            metavar="FOLDER",
            help="Folder to push versions to; default: push nothing.",
            parser=places.write_model,
        ),
    ] = None,
    push_events: Annotated[
        int | None, typer.Option(metavar="N", help="Number of events between pushes; default: one push a span.", min=1)
    ] = None,
    max_lateness: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="Drop events that are later than this; default: keep all.", min=0),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for new spans until interrupted.")] = False,
    idle_seconds: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="With --follow: stop after this time without a new span.", min=0.0),
    ] = None,
    poll_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time between checks for new spans.", min=0.01)
    ] = 1.0,
    set_: Set = None,
    seed: SeedOverride = None,
    json_file: JsonFile = None,
) -> None:
    """Learn from a stream of spans and push new versions.

    Each event is learned from once. A running server picks the versions up.

    Example: consort online simulated_cs3_online --stream stream --out run --serve served
    """
    from consort.config import load_config

    config = load_config(run, overrides(set_, {"seed": seed}))
    check_unused(out, config)
    from runs.online.learn import OnlineSettings, learn_online

    settings = OnlineSettings(push_events, max_lateness, follow, poll_seconds, idle_seconds)
    result = learn_online(config, stream, out, serve, settings, say)
    show({"run": str(out), **{key: result[key] for key in ("events", "pushed")}, "last_span": result["spans"][-1]})
    save(result, json_file)
