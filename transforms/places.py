"""What stands at a path: a dataset, a run, an exported model or something else, for messages."""

import os
from pathlib import Path

_MARKS = {
    "dataset.json": "a dataset",
    "saved_model.pb": "an exported model",
    "metadata.sqlite": "the root of a pipeline",
    "search.json": "a search of `consort tune`",
}


def kind_of(path: str | os.PathLike[str]) -> str:
    """Returns what stands at a path, in words: `no such file or folder`, `a file`, `a dataset`, `a finished run`."""
    root = Path(path)
    if not os.path.lexists(root):
        return "no such file or folder"
    if not root.is_dir():
        return "a file"
    for name, kind in _MARKS.items():
        if (root / name).is_file():
            return kind
    if (root / "run.json").is_file():
        return "a finished run" if (root / "model" / "saved_model.pb").is_file() else "a run that has not ended"
    return "a folder of other files" if any(root.iterdir()) else "an empty folder"
