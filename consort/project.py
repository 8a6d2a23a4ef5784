"""A new project: the declaration of a log, run files for its models, and the commands, in a folder ready for git."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runs.inspection.inspect import Inspection, inspect_files
from transforms.errors import InputError
from transforms.files import check_folder, new_directory

_SET_RANKER = """\
record: request
model: {name: set_ranker, embedding_dim: 16, hidden_units: [128, 64]}
training: {epochs: 3, learning_rate: 0.001, patience: 1, shuffle_buffer: 2048}
"""
_RUN_FILES = {
    "deepfm": """\
# DeepFM: ranks single items. `consort config show {name}` prints all keys with their defaults.
name: {log}_deepfm
model: {{name: deepfm, embedding_dim: 16, hidden_units: [128, 64]}}
training: {{epochs: 5, learning_rate: 0.001, patience: 1}}
gate: {{min_auc: 0.55}}
""",
    "mutual": """\
# Two click models, pretrained apart and finetuned together; the better one is served.
name: {log}_mutual
model: {{name: deepfm, embedding_dim: 16, hidden_units: [128, 64]}}
training: {{epochs: 2, learning_rate: 0.001}}
recipe: {{name: mutual_learning, options: {{models: [deepfm, dcn], epochs: 1, learning_rate: 0.0001}}}}
gate: {{min_auc: 0.55}}
""",
    "duet": """\
# DUET: two rankers of all candidates of a request, which label each other's candidates that were not shown.
name: {log}_duet
{set_ranker}recipe: {{name: duet, options: {{consistency_weight: 0.1}}}}
gate: {{min_auc: 0.55}}
""",
    "set_ranker": """\
# A ranker of all candidates of a request. DUET needs candidates that were not shown, which this log does not have.
name: {log}_set_ranker
{set_ranker}gate: {{min_auc: 0.55}}
""",
    "retrieval": """\
# Two towers that find what a user will click among all items of the log.
name: {log}_retrieval
model: {{name: fism, embedding_dim: 64}}
training: {{epochs: 12, patience: 3, learning_rate: 0.003, embedding_l2: 1.0e-5}}
recipe: {{name: retrieval}}
gate: {{min_auc: 0.5}}
""",
    "cs3": """\
# CS3: two towers that learn in one pass through the log, for retrieval among all its items.
name: {log}_cs3
model: {{name: dssm, embedding_dim: 16, hidden_units: [128, 64], options: {{cycle_adaptive: [user, item]}}}}
training: {{epochs: 1, learning_rate: 0.001}}
recipe: {{name: cs3, options: {{alpha: 0.8, beta: 0.8, softmax_weight: 0.1}}}}
gate: {{min_auc: 0.55}}
""",
}
_GITIGNORE = "# Made by the commands in README.md.\n/data/\n/runs/\n/pipelines/\n/serving/\n"
_README = """\
# {log}

`{log}.yaml` declares the log: read its comments, correct it, and answer its questions; the import refuses open ones.
{questions}
```
consort data import {log}.yaml --out data
consort data audit data
consort train deepfm.yaml --data data --out runs/deepfm
consort evaluate runs/deepfm --data data
consort export runs/deepfm --out serving
consort serve serving
```

In another terminal:

```
consort query {log}_deepfm --data data --count 3
```

The other models, with the same commands:

{models}

All steps, with gates before a model is served: `consort pipeline run deepfm.yaml --data data --root pipelines/deepfm`.
"""
_MEANINGS = {
    "mutual": "`mutual.yaml`: two click models that finetune each other",
    "duet": "`duet.yaml`: ranks all candidates of a request",
    "set_ranker": "`set_ranker.yaml`: ranks all candidates of a request",
    "retrieval": (
        "`retrieval.yaml`: retrieves among all items; `consort query {log}_retrieval --retrieve --data data` asks it"
    ),
    "cs3": "`cs3.yaml`: retrieves, too, by towers that learn in one pass in the order of time",
}


@dataclass(frozen=True)
class Project:
    """What `new_project` wrote.

    Args:
      folder: of the project.
      files: names of its files.
      questions: what the declaration could not decide.
    """

    folder: Path
    files: tuple[str, ...]
    questions: tuple[str, ...]


def new_project(folder: str | os.PathLike[str], data: Sequence[str]) -> Project:
    """Looks at a log, and writes a project for it, whole or not at all.

    Args:
      folder: new or empty; its name becomes that of the log.
      data: files, folders or patterns: the log, and tables of users and items.

    Raises:
      InputError: the name is none of a log, the folder is in use, or a file is missing or malformed.
    """
    target = Path(os.path.abspath(folder))
    log = target.name
    if not re.fullmatch(r"[a-z][a-z0-9_]*", log):
        fix = f"choose a name such as {re.sub('[^a-z0-9]+', '_', log.lower()).strip('_') or 'shop'}"
        raise InputError("NAME", repr(log), "a lower-case letter, then such letters, digits or underscores", fix)
    check_folder(target, "NAME")
    try:
        with new_directory(target) as temporary:
            inspection = inspect_files(data, log, temporary)
            files = _files(log, inspection)
            for name, text in files.items():
                (temporary / name).write_text(text)
    except FileExistsError as error:
        raise InputError(str(folder), "a path in use", "a new or empty folder", "choose another name") from error
    return Project(target, tuple(files), inspection.questions)


def _files(log: str, inspection: Inspection) -> dict[str, str]:
    """Returns the texts of a project's files by name."""
    guesses = inspection.guesses
    candidates = guesses["candidates"].value if "candidates" in guesses else {}
    has_requests = bool(candidates) or "request_id" in guesses
    has_unexposed = "exposed" in guesses or "exposed" in candidates or "shown" in candidates
    fitting = {
        # DUET learns from candidates that were not shown; where a log has none, one ranker of sets remains.
        "duet": has_unexposed,
        "set_ranker": has_requests and not has_unexposed,
        # Towers have a user's side, and learn from the order of time.
        "retrieval": "user_id" in guesses and "timestamp" in guesses,
        "cs3": "user_id" in guesses and "timestamp" in guesses,
    }
    models = [name for name in _RUN_FILES if fitting.get(name, True)]
    lines = [f"- {_MEANINGS[name].format(log=log)}" for name in models if name in _MEANINGS]
    questions = "".join(f"\n- {question}" for question in inspection.questions)
    readme = _README.format(log=log, questions=f"{questions}\n" if questions else "", models="\n".join(lines))
    return {
        f"{log}.yaml": inspection.text,
        **{
            f"{name}.yaml": _RUN_FILES[name].format(log=log, name=f"{name}.yaml", set_ranker=_SET_RANKER)
            for name in models
        },
        "README.md": readme,
        ".gitignore": _GITIGNORE,
    }
