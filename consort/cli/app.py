"""The root of the command line.

The first line of a verb's docstring is its summary in the list of verbs; its last paragraph is an example.
"""

import typer
from typer.core import TyperCommand

from consort.cli import (
    bench,
    cascade,
    config,
    data,
    demo,
    models,
    new,
    online,
    pipeline,
    places,
    query,
    retrieval,
    score,
    serve,
    table,
    tune,
)

app = typer.Typer(
    name="consort",
    help="Train, evaluate and serve recommenders whose models teach each other.",
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
for verb in (
    demo.demo,
    demo.doctor,
    new.new,
    models.train,
    online.online,
    tune.tune,
    models.evaluate,
    score.score,
    models.export,
    serve.serve,
    query.query,
    cascade.cascade,
    retrieval.index,
):
    app.command(cls=serve.ServeCommand if verb is serve.serve else None)(verb)
for command in places.all_commands(app):
    command.cls = places.Command if command.cls in (None, TyperCommand) else command.cls
