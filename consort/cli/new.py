"""`consort new`."""

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.options import JsonFile
from consort.cli.output import say, show


def new(
    folder: Annotated[
        Path, typer.Argument(metavar="NAME", help="Folder of the project, new or empty; its name is the log's.")
    ],
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="FILES", help="File, folder or pattern of the log, or of a table; repeatable."),
    ],
    json_file: JsonFile = None,
) -> None:
    """Start a project on your own log: declaration, run files, README.

    The declaration is guessed from a look at the files. What they do not show becomes a question, which the import
    refuses until it is answered.

    Example: consort new shop --data clicks.parquet --data items.csv
    """
    say(f"looking at {', '.join(data)}")
    from consort.project import new_project

    project = new_project(folder, data)
    for question in project.questions:
        say(f"question: {question}")
    say(f"next: read {folder / (project.folder.name + '.yaml')}, then follow {folder / 'README.md'}")
    result = {"project": str(folder), "files": list(project.files), "questions": len(project.questions)}
    show(result, json_file)
