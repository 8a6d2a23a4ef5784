"""Data sources by name, imported when asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from transforms.errors import InputError
from transforms.features import RecordKind
from transforms.import_path import Registry, nearest
from transforms.sources.base import Source
from transforms.validation import expected_by

SOURCES: dict[str, str] = {
    "avazu": "transforms.sources.avazu.schema.Avazu",
    "criteo": "transforms.sources.criteo.schema.Criteo",
    "ebnerd": "transforms.sources.ebnerd.schema.Ebnerd",
    "kuairand": "transforms.sources.kuairand.schema.Kuairand",
    "movielens": "transforms.sources.movielens.schema.Movielens",
    "ratings_matrix": "transforms.sources.ratings_matrix.schema.RatingsMatrixSource",
    "recflow": "transforms.sources.recflow.schema.Recflow",
    "recsys2017": "transforms.sources.recsys2017.schema.Recsys2017",
    "taobao_ad": "transforms.sources.taobao_ad.schema.TaobaoAd",
}
"""Short names and import paths."""

REGISTRY = Registry("source", "consort.sources", SOURCES)


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
      InputError: there is no such source; the nearest known name is suggested.
    """
    return REGISTRY.find(name, Source)  # type: ignore[type-abstract]


def source_name(name: str) -> str:
    """Returns the name that datasets of a source carry, whether it is given by name or by import path."""
    return source_class(name).name if "." in name else name


def get_source(name: str, options: Mapping[str, Any] | None = None) -> Source:
    """A source with its options.

    Args:
      name: a short name, that of an entry point of `consort.sources`, or an import path, `package.module.Class`.
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
    """Every source that has a short name, in alphabetical order."""
    infos = []
    for name in sorted(REGISTRY.paths()):
        chosen = source_class(name)
        options = {key: field.default for key, field in chosen.Options.model_fields.items()}
        infos.append(SourceInfo(name, chosen.summary, chosen.licence, chosen.where, chosen.records, options))
    return tuple(infos)


def _option_error(name: str, known: list[str], error: ValidationError) -> InputError:
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"]) or "together"
    where = f"source {name!r}, option {option!r}"
    if first["type"] == "extra_forbidden":
        return InputError(where, "an unknown option", f"one of {', '.join(known)}", nearest(option, known))
    return InputError(where, repr(first["input"]), expected_by(first), "correct the value")
