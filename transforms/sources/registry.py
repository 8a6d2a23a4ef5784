"""Data sources by name, imported when asked for."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from transforms.errors import InputError
from transforms.features import RecordKind
from transforms.sources.base import Source

SOURCES: dict[str, str] = {
    "avazu": "transforms.sources.avazu.Avazu",
    "criteo": "transforms.sources.criteo.Criteo",
    "ebnerd": "transforms.sources.ebnerd.Ebnerd",
    "kuairand": "transforms.sources.kuairand.Kuairand",
    "movielens": "transforms.sources.movielens.Movielens",
    "ratings_matrix": "transforms.sources.ratings_matrix.RatingsMatrixSource",
    "recflow": "transforms.sources.recflow.Recflow",
    "recsys2017": "transforms.sources.recsys2017.Recsys2017",
    "taobao_ad": "transforms.sources.taobao_ad.TaobaoAd",
}
"""Import paths of the source classes; a new source is one more line."""


@dataclass(frozen=True)
class SourceInfo:
    """What a user should know before importing a source.

    Args:
      name: as on the command line.
      summary: one line.
      licence: what may be done with the data.
      where: where to get it.
      records: the record kinds that it gives.
      options: names of its options with their defaults.
    """

    name: str
    summary: str
    licence: str
    where: str
    records: tuple[RecordKind, ...]
    options: Mapping[str, Any]


def source_class(name: str) -> type[Source]:
    """The class of a source.

    Raises:
      InputError: no source has that name; the nearest known one is named.
    """
    if name not in SOURCES:
        raise InputError("source", repr(name), f"one of {', '.join(SOURCES)}", _nearest(name, list(SOURCES)))
    module, _, attribute = SOURCES[name].rpartition(".")
    found: type[Source] = getattr(importlib.import_module(module), attribute)
    return found


def get_source(name: str, options: Mapping[str, Any] | None = None) -> Source:
    """A source with its options.

    Args:
      name: as in `SOURCES`.
      options: values by option name; the others keep their defaults.

    Raises:
      InputError: unknown source or option (the nearest known one is named), or a value out of its domain.
    """
    chosen = source_class(name)
    try:
        return chosen(chosen.Options.model_validate(dict(options or {})))
    except ValidationError as error:
        raise _option_error(name, list(chosen.Options.model_fields), error) from error


def list_sources() -> tuple[SourceInfo, ...]:
    """Every source, in alphabetical order."""
    infos = []
    for name in sorted(SOURCES):
        chosen = source_class(name)
        options = {key: field.default for key, field in chosen.Options.model_fields.items()}
        infos.append(SourceInfo(name, chosen.summary, chosen.licence, chosen.where, chosen.records, options))
    return tuple(infos)


def _option_error(name: str, known: list[str], error: ValidationError) -> InputError:
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"]) or "together"
    where = f"source {name!r}, option {option!r}"
    if first["type"] == "extra_forbidden":
        return InputError(where, "an unknown option", f"one of {', '.join(known)}", _nearest(option, known))
    return InputError(where, repr(first["input"]), first["msg"], "correct the value")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
