"""`consort bench`: speed."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.output import JsonFile, Seed, save, say, show

app = typer.Typer(help="Speed, measured here and now.", no_args_is_help=True)


@app.command("input", epilog="Example: consort bench input --json input.json")
def input_(
    examples: Annotated[int, typer.Option(help="List-wise examples to read.", min=8)] = 400_000,
    rounds: Annotated[int, typer.Option(help="Rounds of each way; the median counts.", min=1)] = 3,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Parsed examples per second."""
    from benchmarks.input import bench_input

    _show(bench_input(examples, rounds, 1 if seed is None else seed), json_file)


@app.command("pipeline", epilog="Example: consort bench pipeline --rows 100000 --json pipeline.json")
def pipeline(
    rows: Annotated[int, typer.Option(help="Criteo-shaped rows to generate.", min=1000)] = 1_000_000,
    preset: Annotated[str, typer.Option(help="Whose features and Beam options.")] = "criteo_deepfm",
    folder: Annotated[Path | None, typer.Option(help="Where to work; default: a temporary folder.")] = None,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Raw file to transformed examples: seconds and peak memory."""
    from benchmarks.pipeline import bench_pipeline

    say(f"generating {rows} rows, then importing and transforming them")
    _show(bench_pipeline(rows, 1 if seed is None else seed, preset, folder), json_file)


class _Ids(StrEnum):
    ZIPF = "zipf"
    UNIFORM = "uniform"


class _Part(StrEnum):
    SIZES = "sizes"
    GROWTH = "growth"
    MODELS = "models"
    DUET = "duet"
    CS3 = "cs3"


@app.command(
    "train",
    short_help="The same DeepFM in three libraries; other models.",
    epilog="Example: consort bench train --json train.json",
)
def train(
    part: Annotated[
        list[_Part] | None,
        typer.Option(
            "--part",
            "--recipe",
            help="sizes: libraries side by side; growth: Consort, by ids; models: Consort's; duet: on requests; "
            "cs3: on rows; default: all.",
        ),
    ] = None,
    ids: Annotated[_Ids, typer.Option(help="How often each id comes.")] = _Ids.ZIPF,
    rounds: Annotated[int, typer.Option(help="Rounds; the median counts.", min=1)] = 5,
    round_seconds: Annotated[float, typer.Option(help="Seconds of each contender in a round.", min=0.01)] = 3.0,
    threads: Annotated[int, typer.Option(help="Threads of each library.", min=1)] = 2,
    peers: Annotated[
        Path | None,
        typer.Option(help="Folder of `bench peers`; exit 3 if one is missing. Default: those in the usual folder."),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Tiny sizes: to see that it works, not to measure.")] = False,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """The same DeepFM in Consort, DeepCTR and FuxiCTR; Consort's other models; four peers against one."""
    from benchmarks.train import PARTS, bench_train

    result = bench_train(
        parts=[each.value for each in part] if part else PARTS,
        ids=ids.value,
        rounds=rounds,
        round_s=round_seconds,
        threads=threads,
        seed=1 if seed is None else seed,
        peers=peers,
        fast=fast,
        say=say,
    )
    shown = ("ratio", "step_ratio", "store_ratio", "fastest", "examples_per_s", "step_ms", "missing_peers")
    show({key: value for key, value in result.items() if key.startswith(shown)})
    save(result, json_file)


@app.command(
    "score", short_help="Scoring 4,500 candidates in one pass.", epilog="Example: consort bench score --json score.json"
)
def score(
    rounds: Annotated[int, typer.Option(help="Rounds; the median counts.", min=1)] = 7,
    threads: Annotated[int, typer.Option(help="Threads of TensorFlow.", min=1)] = 2,
    fast: Annotated[bool, typer.Option("--fast", help="Tiny sizes: to see that it works, not to measure.")] = False,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Scoring 4,500 candidates in one pass: linear attention against exact attention."""
    from benchmarks.score import bench_score

    result = bench_score(rounds, threads, 1 if seed is None else seed, fast, say)
    shown = ("ratio", "time_ratio", "latency", "peak")
    show({key: value for key, value in result.items() if key.startswith(shown)})
    save(result, json_file)


@app.command(
    "serve",
    short_help="Answer time of a set ranker over gRPC.",
    epilog="Example: consort bench serve --candidates 1000 --history 200 --json serve.json",
)
def serve(
    candidates: Annotated[int, typer.Option(help="Candidates of a request.", min=1)] = 1000,
    history: Annotated[int, typer.Option(help="Elements of its history.", min=0)] = 200,
    requests: Annotated[int, typer.Option(help="Requests of a round, one after the other.", min=1)] = 1000,
    rounds: Annotated[int, typer.Option(help="Rounds; the median of each percentile counts.", min=1)] = 3,
    signature: Annotated[str, typer.Option(help="serving_default, or plain: without XLA.")] = "serving_default",
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Answer time of a set ranker, raw ids in, scores out, over gRPC from another process."""
    from benchmarks.serve import bench_serve

    _show(bench_serve(candidates, history, requests, rounds, signature, 1 if seed is None else seed, say), json_file)


@app.command(
    "retrieve",
    short_help="The best 100 items for a user: exact and indexed.",
    epilog="Example: consort bench retrieve --json retrieve.json",
)
def retrieve(
    items: Annotated[int, typer.Option(help="Items of the catalogue.", min=1)] = 200_000,
    width: Annotated[int, typer.Option(help="Width of their vectors.", min=1)] = 64,
    calls: Annotated[int, typer.Option(help="Calls of each batch size.", min=1)] = 300,
    threads: Annotated[int, typer.Option(help="Threads of TensorFlow.", min=1)] = 2,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """The best 100 items for a user: exact in the served graph, and approximate by HNSW."""
    from benchmarks.retrieve import bench_retrieve

    seed = 1 if seed is None else seed
    _show(bench_retrieve(items, width, calls, threads, seed=seed, say=say), json_file)


@app.command(
    "online",
    short_help="Learning from a stream with a server attached.",
    epilog="Example: consort bench online --spans 20 --json online.json",
)
def online(
    spans: Annotated[int, typer.Option(help="Spans of the stream; a version is pushed after each.", min=1)] = 20,
    requests: Annotated[int, typer.Option(help="Requests to simulate.", min=20)] = 5000,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Learning from a stream with a server attached: requests that failed while versions changed, and memory."""
    from benchmarks.online import bench_online

    _show(bench_online(spans, requests, 1 if seed is None else seed, say), json_file)


@app.command(
    "peers",
    short_help="Build the environments of DeepCTR and FuxiCTR.",
    epilog="Example: consort bench peers --out peers",
)
def peers(
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default: where `bench train` looks.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Build the environments of DeepCTR and FuxiCTR, which `bench train` compares with; needs the network."""
    from benchmarks.peers.environments import Environments

    show(Environments.at(out).install(say), json_file)


@app.command(
    "optimizer",
    short_help="AUC: lazy against dense optimizers.",
    epilog="Example: consort bench optimizer --json optimizer.json",
)
def optimizer(
    rows: Annotated[int, typer.Option(help="Rows to train on.", min=1000)] = 2_000_000,
    test_rows: Annotated[int, typer.Option(help="Rows to measure on.", min=1000)] = 500_000,
    batch_size: Annotated[int, typer.Option(help="Rows of a step.", min=1)] = 1000,
    repeats: Annotated[int, typer.Option(help="Worlds, each with rows and first weights of its own.", min=1)] = 3,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """AUC after one pass over a simulated log: lazy against dense Adam, bfloat16 against float32."""
    from benchmarks.optimizer import bench_optimizer

    _show(bench_optimizer(rows, test_rows, batch_size, repeats, 1 if seed is None else seed, say), json_file)


def _show(result: dict[str, Any], json_file: Path | None) -> None:
    show({key: value for key, value in result.items() if key != "machine"})
    save(result, json_file)
