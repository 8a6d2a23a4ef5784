"""The root of the command line."""

import typer

from consort.cli import bench, config, data, demo, models, online, pipeline, retrieval, serving, table, tune

app = typer.Typer(
    name="consort",
    help="Recommenders whose models teach each other: from raw logs to a gRPC answer.",
    epilog="Start with: consort demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")
app.add_typer(pipeline.app, name="pipeline")
app.add_typer(bench.app, name="bench")
app.add_typer(table.app, name="table")
# In 80 columns there is room for 60 characters.
app.command("demo", short_help="A cascade from one simulated log: train, serve, ask.")(demo.demo)
app.command("doctor")(demo.doctor)
app.command("train")(models.train)
app.command("online", short_help="Learn from a stream of spans, and push versions.")(online.online)
app.command("tune", short_help="Search for better values of a run file's keys.")(tune.tune)
app.command("evaluate", short_help="Metrics with 95 % confidence intervals.")(models.evaluate)
app.command("export", short_help="Publish a trained model as a version.")(models.export)
app.command("serve")(serving.serve)
app.command("query", short_help="Send a request over gRPC and print the answer.")(serving.query)
app.command("index", short_help="Build an approximate index of a model's items.")(retrieval.index)
