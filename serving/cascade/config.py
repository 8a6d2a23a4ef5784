"""The file that describes a cascade, and the `models.config` files that its servers need."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from transforms.errors import InputError
from transforms.files import write_text
from transforms.plain_text import parse_json
from transforms.validation import input_error, read_mapping

Milliseconds = Annotated[float, Field(gt=0, le=600_000, allow_inf_nan=False)]
_ADDRESS = r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"
_MOST_ITEMS = 2**31 - 1


class StageConfig(BaseModel):
    """A model of a cascade.

    Args:
      model: its name on the server.
      name: of the stage in answers; default: that of the model.
      server: `host:port`.
      keep: number of items that it passes on, the best ones.
      fetch: number of items to ask retrieval for, so that some are left after a filter; default: `keep`.
      timeout_ms: deadline of the stage, the client's work included.
      version: number of the version to call; default: the newest.
      label: label of the version to call, such as `stable`. With `version`, that version gets the label in
        `models.config`.
      signature: of a scoring stage; the first stage's is `retrieve`.
      score: output of a scoring stage that it sorts by.
      folder: folder of the numbered versions, readable for the client: the first stage's have the item columns.
      base_path: the same folder as the server sees it; default: the absolute path of `folder`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    name: str = ""
    server: str = Field(default="127.0.0.1:8500", pattern=_ADDRESS)
    keep: int = Field(ge=1, le=_MOST_ITEMS)
    fetch: int | None = Field(default=None, ge=1, le=_MOST_ITEMS)
    timeout_ms: Milliseconds = 30.0
    version: int | None = Field(default=None, ge=0, lt=2**63)
    label: str | None = Field(default=None, min_length=1)
    signature: str = "serving_default"
    score: str = "logit"
    folder: Path | None = None
    base_path: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "StageConfig":
        if self.fetch is not None and self.fetch < self.keep:
            raise InputError("fetch", self.fetch, f"at least keep, {self.keep}", "raise it, or leave it out")
        if self.base_path is not None and not self.base_path.startswith("/") and "://" not in self.base_path:
            fix = "name the folder as the server sees it, from /"
            raise InputError("base_path", repr(self.base_path), "an absolute path", fix)
        return self

    @property
    def title(self) -> str:
        """The stage's name."""
        return self.name or self.model


class CascadeConfig(BaseModel):
    """A cascade.

    Args:
      stages: a two-tower model, then those that order its items.
      timeout_ms: deadline of the whole call.
      exclude: the user's lists of items that are not to be recommended again, such as `clicked_items`.
      fallback: JSON file, a list of item ids, best first, for calls without an answer of retrieval; default: the items
        that retrieval has returned most often to this process.
      failures: failed calls in a row after which a stage is paused.
      pause_ms: longest pause of such a stage; the first is an eighth, and each further failure doubles it.
      threads: calls at a time of the async API.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: tuple[StageConfig, ...] = Field(min_length=1)
    timeout_ms: Milliseconds = 100.0
    exclude: tuple[str, ...] = ()
    fallback: Path | None = None
    failures: int = Field(default=5, ge=1)
    pause_ms: Milliseconds = 1000.0
    threads: int = Field(default=16, ge=1, le=1024)

    @property
    def items(self) -> Path:
        """The folder of versions that have the item columns."""
        return self.stages[0].folder or Path()

    @field_validator("stages")
    @classmethod
    def _check_stages(cls, stages: tuple[StageConfig, ...]) -> tuple[StageConfig, ...]:
        titles = [stage.title for stage in stages]
        if twice := {title for title in titles if titles.count(title) > 1}:
            raise InputError("stages", f"two stages named {twice.pop()!r}", "distinct names", "give them a `name` each")
        if stages[0].folder is None:
            fix = "name the folder of its versions; the client reads the items' columns there"
            raise InputError("stages.0.folder", "nothing", "the folder of the first stage's versions", fix)
        if "signature" in stages[0].model_fields_set:
            raise InputError("stages.0.signature", stages[0].signature, "nothing", "leave it out; it is `retrieve`")
        for place, stage in enumerate(stages[1:], 1):
            if stage.fetch is not None:
                fix = "leave it out; a later stage gets what the one before keeps"
                raise InputError(f"stages.{place}.fetch", stage.fetch, "nothing", fix)
        return stages


def load_cascade(path: str | os.PathLike[str]) -> CascadeConfig:
    """Reads a cascade's YAML file; its paths are relative to its folder.

    Raises:
      InputError: no such file, not YAML, an unknown key (the nearest one is named), or a value out of its domain.
    """
    values = read_mapping(path, "the YAML file of a cascade", "docs/cascade.md")
    return _placed(parse_cascade(values, str(path)), Path(path).parent)


def parse_cascade(values: Mapping[str, Any], where: str = "cascade") -> CascadeConfig:
    """Checks values and fills in defaults.

    Raises:
      InputError: an unknown key (the nearest one is named), or a value out of its domain.
    """
    try:
        return CascadeConfig.model_validate(dict(values))
    except ValidationError as error:
        raise input_error(error, where, _keys_at) from error


def _keys_at(location: Sequence[str]) -> list[str]:
    return list((StageConfig if location else CascadeConfig).model_fields)


def _placed(config: CascadeConfig, folder: Path) -> CascadeConfig:
    """Returns the config with its relative paths joined to a folder."""
    stages = tuple(
        stage.model_copy(update={"folder": folder / stage.folder}) if stage.folder else stage for stage in config.stages
    )
    fallback = folder / config.fallback if config.fallback else None
    return config.model_copy(update={"stages": stages, "fallback": fallback})


def read_ids(path: Path) -> list[bytes | int]:
    """Reads the item ids of a `fallback` file.

    Raises:
      InputError: no such file, or no list of texts or of whole numbers.
    """
    expected, fix = "a JSON list of item ids, texts or whole numbers, best first", "correct the file, or the path"
    try:
        ids = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"no readable file ({error})", expected, fix) from error
    kinds = {type(one) for one in ids} if isinstance(ids, list) else set()
    if not kinds or not (kinds == {str} or kinds == {int}):
        raise InputError(str(path), "JSON of another form", expected, fix)
    return [one.encode() if isinstance(one, str) else one for one in ids]


def models_configs(config: CascadeConfig) -> dict[str, str]:
    """Returns the text of each server's `models.config` (ModelServerConfig) by address.

    Raises:
      InputError: a stage has neither `folder` nor `base_path`, or two stages want one model in two ways.
    """
    servers: dict[str, dict[str, str]] = {}
    for stage in config.stages:
        models = servers.setdefault(stage.server, {})
        entry = _entry(stage)
        if models.setdefault(stage.model, entry) != entry:
            received = f"model {stage.model} of {stage.server} with two base paths or versions"
            raise InputError(f"stage {stage.title}", received, "the same in all stages", "use one model name each")
    return {
        server: "model_config_list {\n" + "".join(models.values()) + "}\n" for server, models in servers.items()
    }  # fmt: skip


def write_models_configs(config: CascadeConfig, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Writes the files of `models_configs` and returns their paths by server.

    Args:
      config: of the cascade.
      folder: gets `models.config`; with several servers, `models-HOST-PORT.config` for each.
    """
    texts = models_configs(config)
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    for server, text in texts.items():
        suffix = "" if len(texts) == 1 else "-" + "".join(c if c.isalnum() or c in "._" else "-" for c in server)
        paths[server] = Path(folder) / f"models{suffix}.config"
        write_text(paths[server], text)
    return paths


def _entry(stage: StageConfig) -> str:
    if stage.base_path is None and stage.folder is None:
        fix = "name the folder of its versions as the server sees it"
        raise InputError(f"stage {stage.title}, key 'base_path'", "nothing", "a path for models.config", fix)
    base_path = stage.base_path or str(stage.folder and stage.folder.resolve())
    lines = [f"name: {_quoted(stage.model)}", f"base_path: {_quoted(base_path)}", 'model_platform: "tensorflow"']
    if stage.version is not None:
        lines.append(f"model_version_policy {{ specific {{ versions: {stage.version} }} }}")
        if stage.label is not None:
            lines.append(f"version_labels {{ key: {_quoted(stage.label)} value: {stage.version} }}")
    return "  config {\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"


def _quoted(text: str) -> str:
    """Returns a string literal of protobuf's text format."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
