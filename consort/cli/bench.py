"""`consort bench`: benchmarks of speed and memory on this machine."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.options import Fast, JsonFile, Rounds, Seed, Threads
from consort.cli.output import save, say, show, table

app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)


@app.command("input")
def input_(
    examples: Annotated[int, typer.Option(metavar="N", help="Number of list-wise examples to read.", min=8)] = 400_000,
    rounds: Rounds = 3,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure how many examples per second are read and parsed.

    Example: consort bench input --json input.json
    """
    from benchmarks.input import bench_input

    _show(bench_input(examples, rounds, seed), json_file)


@app.command()
def pipeline(
    rows: Annotated[int, typer.Option(metavar="N", help="Number of Criteo-like rows to generate.", min=1000)] = (
        1_000_000
    ),
    preset: Annotated[str, typer.Option(metavar="NAME", help="Preset with the features and Beam options.")] = (
        "criteo_deepfm"
    ),
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Working folder; default: a temporary one.")
    ] = None,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure the time and memory from raw file to examples.

    Example: consort bench pipeline --rows 100000 --json pipeline.json
    """
    from benchmarks.pipeline import bench_pipeline

    say(f"generating {rows} rows, then importing and transforming them")
    _show(bench_pipeline(rows, seed, preset, folder), json_file)


@app.command("end_to_end")
def end_to_end(
    rows: Annotated[int, typer.Option(metavar="N", help="Number of Criteo-like rows to generate.", min=1000)] = 100_000,
    rounds: Rounds = 2,
    threads: Threads = 2,
    peers: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder made by `consort bench peers`; exit code 3 if FuxiCTR is missing. Default: the usual folder.",
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Working folder; default: a temporary one.")
    ] = None,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure a raw file to a trained DeepFM against FuxiCTR.

    Runs `consort data import` and `consort train` for one epoch, and FuxiCTR's preprocessing and training, in turns.

    Example: consort bench end_to_end --rows 100000 --json end_to_end.json
    """
    from benchmarks.end_to_end import bench_end_to_end, table_rows

    result = bench_end_to_end(rows, rounds, threads, seed, peers, folder, say)
    table(f"From {rows:,} raw rows to a trained DeepFM", ("library", "part", "seconds", "share"), table_rows(result))
    show({key: result[key] for key in ("ratio_to_fuxictr", "seconds", "cpu_seconds", "auc", "logloss")})
    save(result, json_file)


class _Ids(StrEnum):
    ZIPF = "zipf"
    UNIFORM = "uniform"


class _Part(StrEnum):
    SIZES = "sizes"
    GROWTH = "growth"
    MODELS = "models"
    DUET = "duet"
    CS3 = "cs3"


_PART_HELP = (
    "Part to run; repeatable; default: all. sizes: DeepFM in three libraries; growth: Consort by number of ids; "
    "models: Consort's models; duet, cs3: those recipes."
)


@app.command()
def train(
    part: Annotated[list[_Part] | None, typer.Option("--part", "--recipe", metavar="PART", help=_PART_HELP)] = None,
    ids: Annotated[_Ids, typer.Option(help="Distribution of the ids.")] = _Ids.ZIPF,
    rounds: Rounds = 5,
    round_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time for each library or model in a round.", min=0.01)
    ] = 3.0,
    threads: Threads = 2,
    peers: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder made by `consort bench peers`; exit code 3 if a library is missing. Default: the usual "
            "folder, without the missing ones.",
        ),
    ] = None,
    fast: Fast = False,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure training speed against DeepCTR and FuxiCTR.

    Trains the same DeepFM in the three libraries, then Consort's other models and recipes.

    Example: consort bench train --json train.json
    """
    from benchmarks.train import PARTS, bench_train

    result = bench_train(
        parts=[each.value for each in part] if part else PARTS,
        ids=ids.value,
        rounds=rounds,
        round_s=round_seconds,
        threads=threads,
        seed=seed,
        peers=peers,
        fast=fast,
        say=say,
    )
    shown = ("ratio", "step_ratio", "store_ratio", "fastest", "examples_per_s", "step_ms", "missing_peers")
    show({key: value for key, value in result.items() if key.startswith(shown)})
    save(result, json_file)


@app.command()
def score(
    rounds: Rounds = 7,
    threads: Threads = 2,
    fast: Fast = False,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure scoring of 4,500 candidates in one pass.

    Compares linear attention with exact attention.

    Example: consort bench score --json score.json
    """
    from benchmarks.score import bench_score

    result = bench_score(rounds, threads, seed, fast, say)
    shown = ("ratio", "time_ratio", "latency", "peak")
    show({key: value for key, value in result.items() if key.startswith(shown)})
    save(result, json_file)


@app.command()
def serve(
    candidates: Annotated[int, typer.Option(metavar="N", help="Number of candidates in a request.", min=1)] = 1000,
    history: Annotated[int, typer.Option(metavar="N", help="Length of the user's history.", min=0)] = 200,
    requests: Annotated[
        int, typer.Option(metavar="N", help="Number of requests in a round, one after the other.", min=1)
    ] = 1000,
    rounds: Rounds = 3,
    signature: Annotated[
        str, typer.Option(metavar="NAME", help="serving_default, or compiled for the graph by XLA.")
    ] = "serving_default",
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure the latency of models over gRPC.

    A client sends raw features to a set ranker and a row ranker. The same graphs in one process and
    an empty call of gRPC are measured beside it.

    Example: consort bench serve --candidates 1000 --history 200 --json serve.json
    """
    from benchmarks.serve import bench_serve

    _show(bench_serve(candidates, history, requests, rounds, signature, seed, say), json_file)


@app.command()
def retrieve(
    items: Annotated[int, typer.Option(metavar="N", help="Number of items in the catalogue.", min=1)] = 200_000,
    width: Annotated[int, typer.Option(metavar="N", help="Dimension of the item vectors.", min=1)] = 64,
    calls: Annotated[int, typer.Option(metavar="N", help="Number of calls for each batch size.", min=1)] = 300,
    threads: Threads = 2,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure retrieval of the top 100 items, exact and HNSW.

    Example: consort bench retrieve --json retrieve.json
    """
    from benchmarks.retrieve import bench_retrieve

    _show(bench_retrieve(items, width, calls, threads, seed=seed, say=say), json_file)


@app.command()
def online(
    spans: Annotated[
        int, typer.Option(metavar="N", help="Number of spans; a version is pushed after each.", min=1)
    ] = 20,
    requests: Annotated[int, typer.Option(metavar="N", help="Number of requests to simulate.", min=20)] = 5000,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure online learning while a server follows it.

    Counts the requests that fail while versions change, and measures memory.

    Example: consort bench online --spans 20 --json online.json
    """
    from benchmarks.online import bench_online

    _show(bench_online(spans, requests, seed, say), json_file)


@app.command()
def versions(
    minutes: Annotated[float, typer.Option(metavar="MINUTES", help="Duration of the load.", min=0.01)] = 30.0,
    flip_seconds: Annotated[float, typer.Option(metavar="SECONDS", help="Time between two versions.", min=0.1)] = 60.0,
    threads: Annotated[int, typer.Option(metavar="N", help="Number of requests at a time.", min=1)] = 3,
    candidates: Annotated[
        int, typer.Option(metavar="N", help="Number of candidates in the largest request.", min=1)
    ] = 200,
    history: Annotated[int, typer.Option(metavar="N", help="Length of the user's history.", min=0)] = 50,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Send mixed requests to a server while versions change.

    Calls a set ranker, a row ranker and towers, and compares each answer with the version that it names. Exit code 1 if
    a request failed or an answer was wrong.

    Example: consort bench versions --minutes 5 --flip-seconds 10 --json versions.json
    """
    from benchmarks.versions import bench_versions
    from transforms.errors import ConsortError

    result = bench_versions(minutes, flip_seconds, threads, candidates, history, seed, say)
    _show(result, json_file)
    if result["failed"] or result["wrong"] or not result["server_running"]:
        raise ConsortError(f"{result['failed']} requests failed and {result['wrong']} answers were wrong")


@app.command()
def peers(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Folder; default: the one that `consort bench train` reads."),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Install DeepCTR and FuxiCTR for `consort bench train`.

    Needs the network.

    Example: consort bench peers --out peers
    """
    from benchmarks.peers.environments import Environments

    show(Environments.at(out).install(say), json_file)


@app.command()
def optimizer(
    rows: Annotated[int, typer.Option(metavar="N", help="Number of rows to train on.", min=1000)] = 2_000_000,
    test_rows: Annotated[int, typer.Option(metavar="N", help="Number of rows to evaluate on.", min=1000)] = 500_000,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Batch size.", min=1)] = 1000,
    repeats: Annotated[
        int, typer.Option(metavar="N", help="Number of repetitions with new data and initial weights.", min=1)
    ] = 3,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Compare the AUC of lazy and dense optimizers.

    Trains one pass over a simulated log with lazy and dense Adam, in float32 and bfloat16.

    Example: consort bench optimizer --json optimizer.json
    """
    from benchmarks.optimizer import bench_optimizer

    _show(bench_optimizer(rows, test_rows, batch_size, repeats, seed, say), json_file)


def _show(result: dict[str, Any], json_file: Path | None) -> None:
    show({key: value for key, value in result.items() if key != "machine"})
    save(result, json_file)
