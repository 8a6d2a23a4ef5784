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
app.command("demo")(demo.demo)
app.command("doctor")(demo.doctor)
app.command("train")(models.train)
app.command("online")(online.online)
app.command("tune")(tune.tune)
app.command("evaluate")(models.evaluate)
app.command("export")(models.export)
app.command("serve")(serving.serve)
app.command("query")(serving.query)
app.command("index")(retrieval.index)
