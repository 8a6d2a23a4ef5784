"""The run file: YAML into frozen models; an unknown key is an error that names the nearest known one.

The same name stands in YAML, here, in arguments and in logs.
"""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from runs.audit.findings import Mode, check_keys
from runs.tuning.config import FIXED, TuningConfig
from transforms.errors import InputError
from transforms.features import Feature, FeatureSet, RecordKind, Vocabulary
from transforms.import_path import nearest
from transforms.names import with_current_names
from transforms.plain_text import parse_yaml
from transforms.sources.registry import source_name
from transforms.validation import input_error

MAX_ROWS = 1024
"""Rows of a batch, at most, where the run file does not say how many."""
NOT_TRAINING = ("gate", "pipeline", "tuning", "baselines")
"""Keys that decide what is done with a model, where, and what is searched, but not what is trained."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeaturesConfig(_Section):
    """Changes to the dataset's FeatureSet.

    Args:
      drop: features that the model must not see.
      add: features to add, on columns of the dataset.
      vocabularies: those to declare anew (thresholds, hashing).
    """

    drop: tuple[str, ...] = ()
    add: tuple[Feature, ...] = ()
    vocabularies: tuple[Vocabulary, ...] = ()

    _renamed = model_validator(mode="before")(with_current_names)

    def apply(self, feature_set: FeatureSet) -> FeatureSet:
        """The FeatureSet with these changes.

        Raises:
          InputError: a dropped feature does not exist, no feature has a changed vocabulary, or the result is
            not a valid FeatureSet.
        """
        known = [feature.name for feature in feature_set.features]
        for name in self.drop:
            if name not in known:
                raise InputError("features.drop", repr(name), f"one of {', '.join(known)}", nearest(name, known))
        replaced = {vocabulary.name for vocabulary in self.vocabularies}
        kept = tuple(feature for feature in feature_set.features if feature.name not in self.drop)
        vocabularies = (
            tuple(vocabulary for vocabulary in feature_set.vocabularies if vocabulary.name not in replaced)
            + self.vocabularies
        )
        try:
            changed = FeatureSet(
                columns=feature_set.columns,
                features=kept + self.add,
                vocabularies=vocabularies,
                list_size=feature_set.list_size,
                requires_item_id=feature_set.requires_item_id,
            )
        except ValidationError as error:
            raise InputError("features", _reason(error), "a valid FeatureSet", "correct the run file") from error
        used = [vocabulary.name for vocabulary in changed.id_vocabularies]
        for name in replaced.difference(used):
            raise InputError("features.vocabularies", repr(name), f"one of {', '.join(used)}", nearest(name, used))
        return changed


class ModelConfig(_Section):
    """A model and its sizes.

    Args:
      name: `deepfm`, `dcn`, `pnn`, `fibinet`, `target_attention_ranker`; on requests also `set_ranker`, `two_tower`,
        `cold`; for retrieval `fism`, `dssm`, `int_tower`, `dat`, `transformer_two_tower`; or the import path of
        a custom class, `package.module.Class`.
      embedding_dim: width of every embedding.
      hidden_units: widths of the MLP's layers.
      dropout: share of hidden activations dropped in training.
      batch_norm: normalize hidden activations over the batch.
      options: further arguments of the model's class.
    """

    name: str = "deepfm"
    embedding_dim: int = Field(default=16, ge=1)
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = (128, 64)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    batch_norm: bool = False
    options: dict[str, Any] = Field(default_factory=dict)


class TrainingConfig(_Section):
    """How a model is fitted.

    Args:
      batch_size: examples a step, on all machines together. None: as the data needs it for some hundreds of steps, a
        power of two from 16 to 1024 rows, or 4 to 64 requests.
      min_steps_per_epoch: on data so small that an epoch would have fewer steps, batches are smaller.
      epochs: passes over the training split.
      linear_start: rankers and pre-rankers begin as a logistic regression on the same features, which is kept if no
        epoch has a lower eval log loss; with `distribution: none`. None: on up to 100,000 rows or 10,000 requests.
      learning_rate: of the dense part and of the tables.
      decay_epochs: epochs in which the learning rate falls to a tenth, exponentially; None keeps it.
      optimizer: `adam`, `adagrad` or `ftrl`; each moves only the rows of a table that a batch looks up.
      distribution: `none`; `mirrored`, over the GPUs of this machine; or over the processes that TF_CONFIG
        names: `multi_worker`, each with all weights, or `parameter_server`, where others hold the weights.
      precision: `float32`, or `mixed_bfloat16` for the dense part; weights, and what is exported, stay float32. `auto`
        is bfloat16 for rankers on rows, in batches of 1024 or more, where the hardware multiplies it.
      embedding_l2: L2 on the embeddings.
      l2_scope: of which rows: `batch`, those looked up, or `table`, all, as in most papers' code, and slow.
      jit_compile: compile the dense part by XLA while training; pays on GPUs, seldom on CPUs.
      memory_limit_gb: tables that need more are refused before they are made; None: what is available.
      tensorboard: write TensorBoard's event files into the folder `tensorboard` of the run or root.
      patience: epochs without a better eval log loss, or recall of `retrieval`, before stopping; None never stops
        early. The best epoch's weights are kept.
      checkpoint_steps: steps between checkpoints; a killed run continues from the last one.
      keep_checkpoints: number of checkpoints kept.
      steps_per_execution: steps in one call of the compiled function.
      shuffle_buffer: examples held for shuffling; 0 keeps the order of time.
      max_steps: stop after this number of steps, even within an epoch; None is no limit.
    """

    batch_size: int | None = Field(default=None, ge=1)
    min_steps_per_epoch: int = Field(default=1, ge=1)
    epochs: int = Field(default=1, ge=1)
    linear_start: bool | None = None
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    decay_epochs: float | None = Field(default=None, gt=0)
    optimizer: Literal["adam", "adagrad", "ftrl"] = "adam"
    distribution: Literal["none", "mirrored", "multi_worker", "parameter_server"] = "none"
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    embedding_l2: float = Field(default=0.0, ge=0)
    l2_scope: Literal["batch", "table"] = "batch"
    jit_compile: bool = False
    memory_limit_gb: float | None = Field(default=None, gt=0)
    tensorboard: bool = False
    patience: int | None = Field(default=None, ge=1)
    checkpoint_steps: int = Field(default=500, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    steps_per_execution: int = Field(default=1, ge=1)
    shuffle_buffer: int = Field(default=65536, ge=0)
    max_steps: int | None = Field(default=None, ge=1)

    @property
    def rows_at_once(self) -> int:
        """Rows to read at once where their number is not known, as of a stream."""
        return self.batch_size or MAX_ROWS


class RecipeConfig(_Section):
    """How models are trained together, or that one is trained alone.

    Args:
      name: `single`, `retrieval`, `mutual_learning`, `duet`, `cs3`, or `entire_space`, the baselines of pre-ranking.
      options: arguments of the recipe, e.g. `peers` and `mutual_weight`.
    """

    name: str = "single"
    options: dict[str, Any] = Field(default_factory=dict)


class GateConfig(_Section):
    """What data and a model must be like for the model to be pushed; a model's bounds are on the overall slice.

    Args:
      checks: by name of a check of the audit, or `check:column`: `stop`, `report` or `off`. By default leaks and
        errors stop a run, and the rest is reported; see docs/audit.md.
      min_auc: AUC on the evaluated split.
      max_calibration_error: |sum of predictions / sum of labels - 1|.
      min_auc_gain: AUC above the blessed model's; negative lets a slightly worse one pass.
      min_gain_over_baseline: gain over the best baseline, in AUC or in recall of the catalogue; the model must also be
        significantly better than the naive ones. None asks for nothing.
    """

    checks: dict[str, Mode] = Field(default_factory=dict)
    min_auc: float = Field(default=0.5, ge=0.0, le=1.0)
    max_calibration_error: float = Field(default=0.5, gt=0)
    min_auc_gain: float = -1e-3
    min_gain_over_baseline: float | None = Field(default=None, allow_inf_nan=False)

    @field_validator("checks", mode="before")
    @classmethod
    def _known_checks(cls, checks: Any) -> Any:
        if not isinstance(checks, Mapping):
            return checks
        check_keys(map(str, checks), "key 'gate.checks'")
        # In YAML, off without quotes is false.
        return {name: "off" if mode is False else mode for name, mode in checks.items()}


class PipelineConfig(_Section):
    """How the TFX pipeline works.

    Args:
      beam_args: Beam's options for every step; the runner is named explicitly.
      statistics_max_examples: approximate number of examples that statistics read of a larger dataset.
      evaluate_split: the split that decides; `test`, or `eval` where there is no test.
      slices: model inputs by which the report is sliced (never the gate).
      keep_versions: pushed versions to keep.
    """

    beam_args: tuple[str, ...] = ("--runner=FnApiRunner",)
    statistics_max_examples: int = Field(default=100_000, ge=1)
    evaluate_split: Literal["eval", "test"] = "test"
    slices: tuple[str, ...] = ()
    keep_versions: int = Field(default=3, ge=1)


class RunConfig(_Section):
    """One run, as `consort train` and `consort pipeline run` take it.

    Args:
      name: of the run, of its model in serving and of its folders.
      source: the data source whose datasets it takes; None: any.
      record: `row` or `request`.
      seed: of every random thing.
      baselines: compare the trained model with simple ones (docs/metrics.md).
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    source: str | None = None
    record: RecordKind = "row"
    seed: int = Field(default=1, ge=0, lt=2**32)
    baselines: bool = True
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    recipe: RecipeConfig = RecipeConfig()
    gate: GateConfig = GateConfig()
    pipeline: PipelineConfig = PipelineConfig()
    tuning: TuningConfig = TuningConfig()

    def check_source(self, source: str, where: str) -> None:
        """Refuses data of another source.

        Args:
          source: that of the data.
          where: what the data is, for the message.

        Raises:
          InputError: the run file names another one.
        """
        if self.source is not None and source != source_name(self.source):
            fix = "choose a preset of that source, or leave `source` out of the run file"
            raise InputError(where, f"a dataset of source {source!r}", repr(self.source), fix)

    def training_values(self) -> dict[str, Any]:
        """The resolved config without the sections that training does not read: `gate`, `pipeline`, `tuning`."""
        return self.model_dump(mode="json", exclude=set(NOT_TRAINING))

    def digest(self) -> str:
        """Sha256 of `training_values`: two configs that train the same model have the same."""
        return hashlib.sha256(json.dumps(self.training_values(), sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved run file, defaults included."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return text


def read_config(file: Path, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Reads a run file, and applies `key.path=value` overrides.

    Raises:
      InputError: not YAML, an unknown key, or a value out of its domain.
    """
    try:
        values = parse_yaml(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(str(file), f"text that is not YAML ({error})", "a YAML mapping", "correct the file") from error
    if not isinstance(values, dict):
        raise InputError(str(file), "no mapping", "a YAML mapping", "see `consort config show`")
    changed = copy.deepcopy(values)
    for override in overrides:
        _override(changed, override)
    try:
        return parse_config(changed, str(file))
    except InputError:
        # Whose fault is it? The file's, or that of the first override with which it is wrong.
        parse_config(values, str(file))
        for override in overrides:
            _override(values, override)
            parse_config(values, f"--set {override}")
        raise


def parse_config(values: dict[str, Any], where: str = "run config") -> RunConfig:
    """Checks values and fills in defaults.

    Raises:
      InputError: an unknown key (the nearest known one is named) or a value out of its domain.
    """
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise _refused(error, where) from error
    _check_space(config, where)
    return config


def with_values(config: RunConfig, values: Mapping[str, Any], where: str = "run config") -> RunConfig:
    """The config with other values of some keys, `section.key`, checked like a run file's.

    Raises:
      InputError: an unknown key or a value out of its domain.
    """
    changed = config.model_dump(mode="json")
    for key, value in values.items():
        _set(changed, key, value, where)
    return parse_config(changed, where)


def _check_space(config: RunConfig, where: str) -> None:
    """Tries every searched key, so that a search does not learn of a wrong one from its trials."""
    alone = config.model_copy(update={"tuning": TuningConfig()})
    for key, value in config.tuning.probes():
        if key.partition(".")[0] in FIXED:
            free = [name for name in RunConfig.model_fields if name not in FIXED]
            fix = "all trials share these; leave it out of the search"
            raise InputError(f"{where}, tuning.space", f"key {key!r}", f"keys of {', '.join(free)}", fix)
        with_values(alone, {key: value}, f"{where}, tuning.space")


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError("--set", repr(override), "key=value, e.g. training.epochs=2", "write it so")
    _set(values, key, yaml_value(text, f"--set {override}"), "--set")


def _set(values: dict[str, Any], key: str, value: Any, where: str) -> None:
    *parents, leaf = key.split(".")
    section = values
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise InputError(where, f"key {key!r}", f"{parent!r} to be a section", "see `consort config show`")
    section[leaf] = value


def yaml_value(text: str, where: str) -> Any:
    """A value on the command line, written as in YAML.

    Raises:
      InputError: it is not YAML.
    """
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(where, repr(text), "a value as in YAML", "correct it, or put it in quotes") from error


def _refused(error: ValidationError, where: str) -> InputError:
    """Returns the first error of a run file; for an unknown key with the nearest dotted one."""
    refusal, first = input_error(error, where), error.errors()[0]
    if first["type"] != "extra_forbidden":
        return refusal
    *parents, leaf = (str(part) for part in first["loc"])
    keys = list(_keys(RunConfig))
    section = ".".join(parents)
    known = [key.rpartition(".")[2] for key in keys if key.rpartition(".")[0] == section]
    same = [key for key in keys if key.rpartition(".")[2] == leaf]
    fix = f"did you mean {same[0]!r}?" if same else nearest(".".join([*parents, leaf]), keys)
    return InputError(refusal.where, "an unknown key", f"one of {', '.join(known)}", fix)


def _keys(model: Any, prefix: str = "") -> Iterator[str]:
    """Yields the dotted keys of a section, and of those in it."""
    for name, field in getattr(model, "model_fields", {}).items():
        yield f"{prefix}{name}"
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            yield from _keys(part, f"{prefix}{name}.")


def _reason(error: ValidationError) -> str:
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
