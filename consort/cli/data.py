"""`consort data`: simulate, import, list, describe, audit."""

import importlib
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli import places
from consort.cli.options import (
    MAX_SEED,
    BeamArg,
    JsonFile,
    Runner,
    Seed,
    beam_args_of,
    source_options,
    split_options,
)
from consort.cli.output import progress, save, say, show, summary_of, table, with_readable_times

app = typer.Typer(help="Simulate, import or inspect a dataset.", no_args_is_help=True)

Out = Annotated[
    Path,
    typer.Option("--out", metavar="FOLDER", help="Folder of the dataset, new or empty.", parser=places.write),
]

Dataset = Annotated[Path, typer.Argument(metavar="FOLDER", help="Dataset made by `consort data`.", parser=places.read)]


@app.command()
def simulate(
    out: Out,
    world: Annotated[
        Path | None,
        typer.Option(
            metavar="WORLD",
            help="File or default, no_set_effect, no_bias, random_exposure, learned_cascade, ctr, ctr_no_interactions.",
        ),
    ] = None,
    requests: Annotated[
        int | None, typer.Option(metavar="N", help="Number of requests of a cascade; default: 20000.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(metavar="N", help="Number of rows of a click log (--world ctr); default: 100000.")
    ] = None,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Simulate a log whose true probabilities are known.

    The log is that of a whole cascade of requests or, with --world ctr, of ad clicks in rows.

    Example: consort data simulate --out /tmp/log --requests 5000 --seed 7
    """
    from simulation.parameters import ClickLogParameters, load_any_world

    parameters = load_any_world(world)
    _check_unit(isinstance(parameters, ClickLogParameters), requests, rows)
    if isinstance(parameters, ClickLogParameters):
        from simulation.ctr_log import simulate as simulate_clicks

        run = partial(simulate_clicks, out, parameters, 100_000 if rows is None else rows, seed)
    else:
        from simulation.cascade_log import simulate as simulate_cascade

        run = partial(simulate_cascade, out, parameters, 20_000 if requests is None else requests, seed)
    importlib.import_module("tensorflow")  # Its seconds of loading are not the simulator's.
    start = time.perf_counter()
    with progress("simulating") as update:
        dataset = run(update)
    seconds = time.perf_counter() - start
    result = {**summary_of(out, dataset), "seconds": seconds, **_speed(dataset, seconds), "notes": dataset.notes}
    show(result)
    if json_file is not None:
        from runs.provenance import machine

        save({**result, "machine": machine()}, json_file)


def _check_unit(is_click_log: bool, requests: int | None, rows: int | None) -> None:
    """Refuses --requests for a log of rows, and --rows for a log of requests."""
    from transforms.errors import InputError

    if is_click_log and requests is not None:
        raise InputError("--requests", requests, "--rows, because a click log has rows", "pass --rows instead")
    if not is_click_log and rows is not None:
        fix = "pass --requests instead, or --world ctr for a log of rows"
        raise InputError("--rows", rows, "--requests, because a cascade has requests", fix)


def _speed(dataset: Any, seconds: float) -> dict[str, float]:
    if "request" not in dataset.records:
        return {"rows_per_s": sum(split.records for split in dataset.records["row"].values()) / seconds}
    candidates = sum(split["candidates"] for split in dataset.notes["request"].values())
    return {"candidate_rows_per_s": candidates / seconds}


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Declaration of your log (.yaml), or a source of `consort data list`.",
            parser=places.read_text,
        ),
    ],
    out: Out,
    input_dir: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FOLDER",
            help="Folder of the raw files; default: the declaration's.",
            parser=places.read,
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the source, or of the runner; repeatable.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Random seed, for sources that split at random.", min=0, max=MAX_SEED),
    ] = None,
    runner: Runner = None,
    beam_arg: BeamArg = None,
    json_file: JsonFile = None,
) -> None:
    """Convert your own log, or files of a source, to a dataset.

    Example: consort data import shop.yaml --out /tmp/shop
    """
    from transforms.files import check_local

    is_declaration = Path(source).suffix in (".yaml", ".yml")
    of_source, of_runner = split_options(option or (), "" if is_declaration else source, runner)
    options = source_options(of_source, seed)
    chosen = _declared(source, options) if is_declaration else _named(source, options, input_dir)
    input_dir = input_dir or Path(source).parent
    check_local(input_dir, "--input")
    check_local(out, "--out")
    chosen.check(input_dir)
    from transforms.beam.import_dataset import import_dataset
    from transforms.beam.runners import LOCAL_ARGS

    beam_args = beam_args_of(runner, of_runner, beam_arg) or LOCAL_ARGS
    say(f"importing {chosen.name} from {input_dir}")
    dataset = import_dataset(chosen, input_dir, out, beam_args)
    warnings = _warnings(out, dataset)
    for warning in warnings:
        say(f"warning: {warning}")
    audited, summary = _audited(out), summary_of(out, dataset)
    show(with_readable_times(summary))
    for line in _written(out, dataset, bool(audited.get("stops"))):
        say(line)
    save({**summary, "warnings": warnings, "audit": audited}, json_file)


def _written(out: Path, dataset: Any, stops: bool) -> list[str]:
    """What an import has written, and what to do next."""
    from transforms.features import SPLITS

    kinds = []
    for record, splits in dataset.records.items():
        parts = ", ".join(f"{split} {splits[split].records:,}" for split in SPLITS if split in splits)
        kinds.append(f"{sum(info.records for info in splits.values()):,} {record} records ({parts})")
    items = sum(shard.records for shard in dataset.items.shards) if dataset.items else 0
    kinds += [f"{items:,} rows of items"] if items else []
    todo = f"consort train RUN.yaml --data {out} --out RUN, or consort pipeline run RUN.yaml --data {out} --root ROOT"
    if stops:
        todo = f"see consort data audit {out}: findings that stop a pipeline; correct the log, or accept them by name"
    return [f"wrote {out}: {'; '.join(kinds)}", f"next: {todo}"]


def _warnings(out: Path, dataset: Any) -> list[str]:
    from runs.data import mean_label
    from transforms.features import CANDIDATE, EXPOSED, LABEL, WEIGHT
    from transforms.records import shard_paths, warnings_of
    from transforms.schema import parse_spec

    def mean(record: Any, split: Any) -> float | None:
        spec = parse_spec(dataset.feature_set, record, (LABEL, EXPOSED, CANDIDATE, WEIGHT))
        return mean_label(shard_paths(out, dataset, record, split), spec)

    return warnings_of(dataset, mean)


def _audited(out: Path) -> dict[str, Any]:
    """Counts of the findings of an audit, and those that would stop a pipeline; what matters goes to stderr."""
    from runs.audit.audit import audit as audit_dataset

    try:
        result = audit_dataset(out)
    except Exception as error:  # noqa: BLE001 - the dataset is written, whatever an audit comes upon
        say(f"the audit failed: {error}")
        return {}
    for finding in result.findings:
        if finding.grade != "info":
            say(f"{finding.grade}: {finding.line()}")
    say(f"{result.summary()}; see `consort data audit {out}`")
    values = result.to_json()
    return {**values["counts"], "stops": values["stops"]}


def _declared(path: str, options: dict[str, Any]) -> Any:
    from transforms.errors import InputError
    from transforms.files import check_local
    from transforms.sources.table.source import table_source

    if options:
        name = next(iter(options))
        raise InputError(f"option {name!r}", repr(options[name]), "keys of the declaration", f"set it in {path}")
    check_local(path, "the declaration")
    return table_source(path)


def _named(name: str, options: dict[str, Any], input_dir: Path | None) -> Any:
    from transforms.errors import InputError
    from transforms.sources.registry import get_source

    source = get_source(name, options)
    if input_dir is None:
        raise InputError("--input", "nothing", "the folder of the raw files", "give --input FOLDER")
    return source


@app.command()
def inspect(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES...", help="Files, folders or patterns: the log, and tables of users and items."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Declaration to write, a new YAML file.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the log; default: the name of its first file.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Write the declaration of a log from a look at its files.

    Each guess stands with its reason. What the files do not show becomes a question, which the import refuses.

    Example: consort data inspect clicks.csv items.parquet --out shop.yaml
    """
    from runs.inspection.inspect import default_name, inspect_files
    from transforms.errors import InputError
    from transforms.files import write_text

    if out.exists():
        raise InputError(str(out), "a file that is there already", "a new file", "choose another --out, or remove it")
    say(f"looking at {', '.join(files)}")
    inspection = inspect_files(files, name or default_name(files[0]), out.absolute().parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, inspection.text)
    for question in inspection.questions:
        say(f"question: {question}")
    guesses = {key: {"value": guess.value, "why": guess.why} for key, guess in inspection.guesses.items()}
    roles = {key: value["value"] for key, value in guesses.items() if not key.startswith("features.")}
    features = [key.removeprefix("features.") for key in guesses if key.startswith("features.")]
    show({"declaration": str(out), **roles, "features": features, "questions": len(inspection.questions)})
    save({"declaration": str(out), "guesses": guesses, "questions": list(inspection.questions)}, json_file)


@app.command()
def spans(
    directory: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Dataset of rows in order of time.", parser=places.read)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="Folder of the stream, with one dataset per span.", parser=places.write
        ),
    ],
    count: Annotated[
        int, typer.Option("--spans", metavar="N", help="Number of spans, of about equal size.", min=1)
    ] = 20,
    json_file: JsonFile = None,
) -> None:
    """Cut a dataset into the spans that `consort online` reads.

    The rows of all splits are cut in order of time.

    Example: consort data spans /tmp/log --spans 20 --out /tmp/stream
    """
    from transforms.spans import cut_spans

    names = cut_spans(directory, out, count)
    show({"stream": str(out), "spans": len(names), "first": names[0], "last": names[-1]}, json_file)


@app.command("list")
def list_(json_file: JsonFile = None) -> None:
    """List the sources, their licenses and where to get them.

    Example: consort data list
    """
    from transforms.sources.registry import list_sources

    sources = list_sources()
    rows = [(s.name, s.summary, ", ".join(s.records), s.licence, s.where) for s in sources]
    rows += [
        (
            "simulator",
            "a cascade with the truth about unexposed items",
            "row, request",
            "ours",
            "consort data simulate",
        ),
        ("ctr_simulator", "ad clicks with their true probability", "row", "ours", "consort data simulate --world ctr"),
    ]
    table("Sources", ("name", "what", "records", "license", "where"), rows)
    save(
        {s.name: {"summary": s.summary, "records": s.records, "licence": s.licence, "where": s.where} for s in sources},
        json_file,
    )


@app.command()
def describe(
    directory: Dataset,
    verify: Annotated[bool, typer.Option(help="Compare every shard with its checksum.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Print the counts, time range and features of a dataset.

    Example: consort data describe /tmp/log
    """
    from transforms.records import load_dataset, verify_shards

    dataset = load_dataset(directory)
    if verify:
        verify_shards(directory, dataset)
    summary = summary_of(directory, dataset)
    summary["features"] = {}
    for feature in dataset.feature_set.features:
        width = dataset.feature_set.column(feature.column).width
        several = f", {width} values" if width is not None else ""
        pooling = f", {feature.pooling or 'mean'}" if width is not None and feature.is_id else ""
        summary["features"][feature.name] = f"{feature.encoding.value} of {feature.column}{several}{pooling}"
    summary["never_inputs"] = [c.name for c in dataset.feature_set.columns if not c.model_input]
    summary["origin"] = dataset.origin
    summary["notes"] = dataset.notes
    show(with_readable_times(summary))
    save(summary, json_file)


@app.command()
def audit(
    directory: Dataset,
    record: Annotated[
        str | None, typer.Option(metavar="KIND", help="row or request; default: rows if there are any.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Earlier dataset, with which this one is compared.", parser=places.read),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a Markdown page.", parser=places.write_file)
    ] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Exit with 4 if a finding would stop a pipeline.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Look for leaks and faults in a dataset before anything is trained.

    Example: consort data audit /tmp/log --report audit.md
    """
    from runs.audit import report as reports
    from runs.audit.audit import audit as audit_dataset
    from transforms.errors import GateRefused
    from transforms.files import write_text
    from transforms.records import record_kind

    result = audit_dataset(directory, None if record is None else record_kind(record), baseline)
    print(reports.text(result), end="")
    if report is not None:
        write_text(report, reports.page(result, directory.name))
    save(result.to_json(), json_file)
    if gate and (stops := result.stopping()):
        raise GateRefused("the audit", [finding.line() for finding in stops])
