"""`consort online`."""

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.config import Run, Set
from consort.cli.output import JsonFile, Seed, check_unused, save, say, show


def online(
    run: Run,
    stream: Annotated[Path, typer.Option("--stream", help="Folder of spans; see `consort data spans`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; the same command continues a killed one.")],
    serve: Annotated[
        Path | None, typer.Option("--serve", help="Folder that versions are pushed to; `consort serve` may watch it.")
    ] = None,
    push_events: Annotated[
        int | None, typer.Option(help="Events between two pushes; default: a push after each span.", min=1)
    ] = None,
    max_lateness: Annotated[
        int | None, typer.Option(help="Seconds that an event may be late; default: any.", min=0)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for further spans, until interrupted.")] = False,
    idle_seconds: Annotated[
        float | None, typer.Option(help="With --follow: end after so long without a new span.", min=0.0)
    ] = None,
    poll_seconds: Annotated[float, typer.Option(help="Seconds between looks for new spans.", min=0.01)] = 1.0,
    set_: Set = None,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Learn from a stream of spans, each event once, and push versions that a running server picks up.

    Example: consort online simulated_cs3_online --stream /tmp/stream --out /tmp/run --serve /tmp/serving
    """
    from consort.config import load_config

    config = load_config(run, (*(set_ or ()), *((f"seed={seed}",) if seed is not None else ())))
    check_unused(out, config)
    from runs.online.learn import OnlineSettings, learn_online

    settings = OnlineSettings(push_events, max_lateness, follow, poll_seconds, idle_seconds)
    result = learn_online(config, stream, out, serve, settings, say)
    show({"run": str(out), **{key: result[key] for key in ("events", "pushed")}, "last_span": result["spans"][-1]})
    save(result, json_file)
