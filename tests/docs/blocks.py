"""Generated blocks of the documentation: tables that mirror the code. `make docs` writes them.

A block stands between `<!-- generated: NAME ARGUMENTS -->` and `<!-- end -->`; `GENERATORS` maps names to functions.
"""

import dataclasses
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from models.options import meanings, options_table
from tests.helpers.source_tree import ROOT

_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) ?([\w. ]*) -->\n).*?(<!-- end -->)", re.DOTALL)
_ARGUMENT = re.compile(r"^  (\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*(?:\n    .*)*)", re.MULTILINE)


def pages() -> tuple[Path, ...]:
    """Returns the pages that may hold generated blocks."""
    return (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))


def render(text: str) -> str:
    """Returns the text of a page with its generated blocks renewed."""
    return _BLOCK.sub(lambda block: block[1] + GENERATORS[block[2]](*block[3].split()) + "\n" + block[4], text)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)
    return in_yaml(text)


def in_yaml(text: str) -> str:
    """Returns text of docstrings with the constants as a run file has them."""
    return re.sub(r"`?\b(None|True|False)\b`?", lambda match: f"`{match[1].lower().replace('none', 'null')}`", text)


def verbs() -> str:
    import typer

    from consort.cli.app import app

    def walk(command: Any, path: str) -> Iterator[tuple[str, str]]:
        for name, verb in getattr(command, "commands", {}).items():
            if hasattr(verb, "commands"):
                yield from walk(verb, f"{path} {name}")
            else:
                yield f"`{path} {name}`", verb.help.split("\n\n")[0]

    return table(("command", "what it does"), walk(typer.main.get_command(app), "consort"))


def presets() -> str:
    from consort import config

    loaded = {name: config.load_config(path) for name, path in config.presets().items()}
    rows = ((f"`{name}`", f"`{c.source}`", f"`{c.record}`", f"`{c.model.name}`", f"`{c.recipe.name}`")
            for name, c in loaded.items())  # fmt: skip
    return table(("preset", "source", "record", "model", "recipe"), rows)


def run_file() -> str:
    """Every key of the run file, from the fields and docstrings of its sections."""
    from runs.config import RunConfig

    def walk(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
        meanings = arguments(section)
        for name, field in section.model_fields.items():
            if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
                yield from walk(field.annotation, f"{prefix}{name}.")
            else:
                default = "required" if field.is_required() else value(field.get_default(call_default_factory=True))
                yield f"`{prefix}{name}`", default, meanings.get(name, "")

    return table(("key", "default", "meaning"), walk(RunConfig, ""))


def section(path: str) -> str:
    """The keys of one section of a declaration."""
    cls = load(path)
    meanings = arguments(cls)

    def default(field: Any) -> str:
        return "required" if field.is_required() else value(field.get_default(call_default_factory=True))

    rows = ((f"`{name}`", _short(default(field)), meanings.get(name, "")) for name, field in cls.model_fields.items())
    return table(("key", "default", "meaning"), rows)


def _short(default: str) -> str:
    # Sections and empty lists say nothing here.
    return "" if "=" in default or default in ("`[]`", "`{}`", "`null`") else default


def sources() -> str:
    from transforms.sources.registry import list_sources

    return table(
        ("source", "what", "records", "licence"),
        ((f"`{s.name}`", s.summary, ", ".join(s.records), s.licence) for s in list_sources()),
    )


def source_options() -> str:
    from transforms.sources.registry import list_sources, source_class

    rows = []
    for source in list_sources():
        meanings = arguments(source_class(source.name).Options)
        rows += [
            (f"`{source.name}`", f"`{key}`", value(default), meanings.get(key, ""))
            for key, default in source.options.items()
        ]
    return table(("source", "option", "default", "meaning"), rows)


def models() -> str:
    from models.registry import MODELS

    rows = ((f"`{name}`", f"`{path}`", first_sentence(load(path))) for name, path in MODELS.items())
    return table(("`model.name`", "class", "what"), rows)


def model_options() -> str:
    """The options that a model declares beyond those that all models have."""
    from models.registry import MODELS
    from models.table_model import ModelOptions

    common = {field.name for field in dataclasses.fields(ModelOptions)}
    rows = []
    for name, path in MODELS.items():
        declaration = load(path).options_class
        texts = meanings(declaration)
        rows += [
            (f"`{name}`", f"`{field.name}`", value(_default(field)), texts.get(field.name, ""))
            for field in dataclasses.fields(declaration)
            if field.name not in common
        ]
    return table(("model", "option", "default", "meaning"), rows)


def options(path: str) -> str:
    """The options of a recipe."""
    return in_yaml(options_table(load(path)).rstrip())


def metrics() -> str:
    from evaluation.metrics import METRICS

    rows = (
        (f"`{key}`", meaning, ", ".join(need.replace("_", " ") for need in metric.needs))
        for metric in METRICS
        for key, meaning in metric.keys.items()
    )
    return table(("metric", "meaning", "needs"), rows)


def audit_checks() -> str:
    from runs.audit.findings import CHECKS

    rows = ((f"`{name}`", one.grade, one.looks_for, one.threshold, one.remedy) for name, one in CHECKS.items())
    return table(("check", "grade", "finds", "from which figure on", "remedy"), rows)


def public_names() -> str:
    import consort

    rows = ((f"`consort.{name}`", first_sentence(getattr(consort, name))) for name in consort.__all__)
    return table(("name", "what"), rows)


def end_to_end() -> str:
    """The parts of both ways from a raw file to a trained model, as they were measured last."""
    from benchmarks.end_to_end import table_rows

    file = ROOT / "benchmarks" / "results" / "end_to_end.json"
    if not file.exists():
        return "No result is committed: run the command."
    result = json.loads(file.read_text())
    load, ratio = result["load_average_before"], result["ratio_to_fuxictr"]
    compared = "" if ratio is None else f"; FuxiCTR takes {ratio:.2f} times as long as Consort"
    caption = f"{result['rows']:,} rows, {result['rounds']} rounds, load average {load:.2f} before{compared}:"
    return f"{caption}\n\n" + table(("library", "part", "seconds", "share"), table_rows(result))


GENERATORS: Mapping[str, Callable[..., str]] = {
    "verbs": verbs,
    "presets": presets,
    "run-file": run_file,
    "section": section,
    "sources": sources,
    "source-options": source_options,
    "models": models,
    "model-options": model_options,
    "options": options,
    "metrics": metrics,
    "audit-checks": audit_checks,
    "public-names": public_names,
    "end-to-end": end_to_end,
}


def load(path: str) -> Any:
    """Returns the class at an import path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def first_sentence(thing: Any) -> str:
    """Returns the first sentence of a docstring."""
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s|: the ", paragraph)[0].rstrip(".")


def arguments(cls: type) -> dict[str, str]:
    """Returns the meaning of each argument from the `Args` sections of a class and its bases."""
    meanings: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        text = inspect.cleandoc(vars(one).get("__doc__") or "")
        section = re.search(r"^Args:\n((?:  .*\n?|\n)+)", text + "\n", re.MULTILINE)
        for names, meaning in _ARGUMENT.findall(section[1] if section else ""):
            meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()).rstrip("."))
    return meanings


def value(default: object) -> str:
    """Returns a default as a run file has it."""
    if default is None or default is True or default is False:
        return f"`{str(default).lower().replace('none', 'null')}`"
    if isinstance(default, tuple | list):
        return "`[" + ", ".join(map(str, default)) + "]`"
    return f"`{default}`"


def _default(field: "dataclasses.Field[Any]") -> object:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def main() -> None:
    """Renews the blocks of all pages."""
    for page in pages():
        text = page.read_text()
        if (renewed := render(text)) != text:
            page.write_text(renewed)
            print(f"renewed {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
