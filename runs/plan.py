"""What one run of the pipeline works on: the config, the data and the paths under the root."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.cotraining.base import Recipe
from models.cotraining.external_inputs import ExternalInput, RunFacts
from models.registry import check_name, check_options
from runs.building import model_of, recipe_of
from runs.config import RunConfig, with_values
from runs.data import mean_label
from runs.external_inputs import checked_inputs, identities
from runs.precision import resolved_precision
from runs.provenance import CODE, CONFIG_FILE, code_version, versions
from transforms.beam.options import pipeline_options
from transforms.errors import FaultyData, InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, SPLITS, STAGE, WEIGHT, FeatureSet, Split
from transforms.files import check_model_folder
from transforms.input import parsed, serialized
from transforms.integrity import checked
from transforms.records import Dataset, Items, items_in, load_dataset, shard_paths
from transforms.schema import parse_spec
from transforms.sources.registry import source_name
from transforms.stream import check_order
from transforms.validation import as_input_error
from transforms.vocabularies import least_table_sizes

_READ_AT_ONCE = 1024

LOG_DIR = "tensorboard"
"""Of TensorBoard's event files, in the folder of a run and under the root of a pipeline."""


@dataclass(frozen=True)
class Plan:
    """A run of the pipeline, before it is wired.

    Args:
      config: the run.
      data_dir: the dataset.
      dataset: its `dataset.json`.
      root: everything that the pipeline writes lies here.
      changed_shards: shards that are sound but no longer what `dataset.json` says.
      inputs: external inputs of the recipe, checked.
      precision_reason: why `training.precision` is what it is; "" if the run file says it.
    """

    config: RunConfig
    data_dir: Path
    dataset: Dataset
    root: Path
    changed_shards: tuple[str, ...] = ()
    inputs: tuple[ExternalInput, ...] = ()
    precision_reason: str = ""

    @cached_property
    def feature_set(self) -> FeatureSet:
        """The dataset's FeatureSet with the config's changes."""
        return self.config.features.apply(self.dataset.feature_set)

    @property
    def facts(self) -> RunFacts:
        """What the external inputs of the recipe may know."""
        return facts_of(self.config, self.dataset)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that the dataset has, `test` last."""
        return tuple(split for split in SPLITS if split in self.dataset.records[self.config.record])

    @property
    def records_dir(self) -> Path:
        return self.data_dir / self.config.record

    @property
    def serving_base(self) -> Path:
        return self.root / "serving" / self.config.name

    @property
    def reports_dir(self) -> Path:
        return self.root / "reports"

    @property
    def profiles_dir(self) -> Path:
        """What later audits compare their data with."""
        return self.root / "profiles" / self.config.name

    @property
    def artifacts_dir(self) -> Path:
        return self.root / "artifacts"

    @property
    def metadata_file(self) -> Path:
        return self.root / "metadata.sqlite"

    def raw_files(self) -> dict[str, list[str]]:
        """Raw shards of the train and eval splits, in the order of time."""
        record = self.config.record
        splits: tuple[Split, ...] = ("train", "eval")
        return {split: shard_paths(self.data_dir, self.dataset, record, split) for split in splits}

    @property
    def items(self) -> Items | None:
        """The dataset's tables of items, with full paths."""
        return items_in(self.data_dir, self.dataset)

    def preprocessing_config(self) -> dict[str, Any]:
        """Execution properties of Transform: what its output depends on besides the data."""
        return {
            "feature_set": self.feature_set.model_dump_json(),
            "record": self.config.record,
            "code_version": code_version("transforms"),
        }

    def training_config(self) -> dict[str, Any]:
        """Execution properties of Trainer and Tuner: what the model depends on besides the transformed data."""
        values = self.config.training_values()
        if self.config.tuning.in_pipeline:
            # The Trainer reads the best values by the space that was searched.
            values["tuning"] = self.config.tuning.model_dump(mode="json")
        return {
            "config": json.dumps(values),
            "feature_set": self.feature_set.model_dump_json(),
            "code_version": code_version(*CODE),
            "dataset_sha256": self.dataset.sha256,
            "first_time": self.facts.first_time,
            "source": self.dataset.source,
            "versions": versions(),
            "raw_files": self.raw_files(),
            "items": self.items.model_dump(mode="json") if self.items else None,
            "warmup_files": shard_paths(self.data_dir, self.dataset, self.config.record, self.splits[-1]),
            "checkpoint_root": str(self.root / "checkpoints"),
            "log_root": str(self.root / LOG_DIR),
            "external_inputs": identities(self.inputs),
        }


def make_plan(
    config: RunConfig, data_dir: str | os.PathLike[str], root: str | os.PathLike[str], folder: str = "--out"
) -> Plan:
    """Checks the run against its data, before anything is written.

    Args:
      config: the run.
      data_dir: the dataset.
      root: everything that the run writes lies here.
      folder: the option that names `root`, for messages.

    Raises:
      InputError: the dataset is not one, is of another source, is damaged, or lacks what the run needs; the
        model cannot be built; an external input is missing or does not fit; Beam does not know an option; or `root`
        cannot be written to, or TensorFlow would read it as a file pattern.
    """
    check_model_folder(root, folder)
    dataset, changed, inputs = check_run(config, data_dir)
    examples = dataset.records[config.record]["train"].records
    precision, reason = resolved_precision(config, examples, Path(root) / CONFIG_FILE)
    return Plan(
        with_values(config, {"training.precision": precision}),
        Path(os.path.abspath(data_dir)),
        dataset,
        Path(os.path.abspath(root)),
        changed,
        inputs,
        reason,
    )


def check_names(config: RunConfig) -> None:
    """Checks the recipe, its options, the classes and options of its models, and the source, without data.

    Raises:
      InputError: one of them does not exist or does not fit, or Beam does not know an option.
    """
    pipeline_options(config.pipeline.beam_args)
    if config.source is not None:
        source_name(config.source)
    recipe = recipe_of(config)
    _check_record(config, recipe)
    for name in (config.model.name, *recipe.model_names()):
        check_name(name)
    try:
        check_options(config.model.name, config.model.options)
    except ValueError as error:
        raise as_input_error(error, "model.options", "options of the model", "correct model.options") from error


def check_run(
    config: RunConfig, data_dir: str | os.PathLike[str]
) -> tuple[Dataset, tuple[str, ...], tuple[ExternalInput, ...]]:
    """Looks whether a run can be made of a dataset; writes nothing.

    Returns:
      The dataset as its sound shards are, those that are no longer what `dataset.json` says, and the external
      inputs of its recipe.

    Raises:
      InputError: as `make_plan`, but for `root`.
    """
    dataset = load_dataset(data_dir)
    config.check_source(dataset.source, str(data_dir))
    _check_splits(config, data_dir, dataset)
    _check_time_order(config, data_dir, dataset)
    feature_set = config.features.apply(dataset.feature_set)
    _check_slices(config, feature_set)
    pipeline_options(config.pipeline.beam_args)
    check_model(config, feature_set)
    # A typo in their paths shows now, not after all shards have been read.
    for one in recipe_of(config).external_inputs():
        one.check_exists()
    dataset, changed = checked(data_dir, dataset, config.record, tuple(dataset.records[config.record]))
    _check_splits(config, data_dir, dataset)  # A shard may be empty that was not when it was written.
    check_needs(config, recipe_of(config), feature_set, dataset, data_dir)
    inputs = checked_inputs(facts_of(config, dataset))
    return dataset, tuple(changed), inputs


def facts_of(config: RunConfig, dataset: Dataset) -> RunFacts:
    """Returns what the external inputs of a run may know of it.

    Args:
      config: the run.
      dataset: what it learns from, or the first part of that.
    """
    ranges = [split.time_range for split in dataset.records.get(config.record, {}).values()]
    first = min((times[0] for times in ranges if times is not None), default=None)
    return RunFacts(config, config.features.apply(dataset.feature_set), dataset.sha256, first)


def _check_splits(config: RunConfig, data_dir: str | os.PathLike[str], dataset: Dataset) -> None:
    for split in ("train", "eval", config.pipeline.evaluate_split):
        shard_paths(data_dir, dataset, config.record, split)


def _check_time_order(config: RunConfig, data_dir: str | os.PathLike[str], dataset: Dataset) -> None:
    if recipe_of(config).in_time_order:
        for split in ("train", "eval"):
            check_order(str(data_dir), dataset.records[config.record][split])


def _check_slices(config: RunConfig, feature_set: FeatureSet) -> None:
    columns = [column.name for column in feature_set.columns_of(config.record)]
    for name in config.pipeline.slices:
        if name not in columns:
            raise InputError(
                "pipeline.slices", repr(name), f"columns among {', '.join(columns)}", "name another column"
            )


def check_model(config: RunConfig, feature_set: FeatureSet) -> None:
    """Looks whether the run's model and recipe can be built on these features; writes nothing.

    Raises:
      InputError: they cannot.
    """
    recipe = recipe_of(config)
    _check_candidates(config, feature_set)
    # Built with small tables and thrown away: a wrong argument shows now, not after hours of transforming.
    sizes = least_table_sizes(feature_set)
    try:
        recipe.check([model_of(config, feature_set, sizes, name=name) for name in (None, *recipe.model_names())])
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        fix = "correct the sections model and features of the run file; see `consort config show`"
        raise as_input_error(error, "model", "a model that takes the run's features and arguments", fix) from error


def _check_candidates(config: RunConfig, feature_set: FeatureSet) -> None:
    inputs = feature_set.model_inputs(config.record)
    if config.record == "request" and not any(item.shape.per_candidate for item in inputs):
        names = ", ".join(item.name for item in inputs)
        fix = "keep a feature of the item, or set `record: row`"
        raise InputError("features", f"no feature of an item, of record request: {names}", "at least one", fix)


def check_needs(
    config: RunConfig, recipe: Recipe, feature_set: FeatureSet, dataset: Dataset, data_dir: str | os.PathLike[str]
) -> None:
    """Refuses data on which a recipe has nothing to learn from.

    Args:
      config: the run.
      recipe: its recipe.
      feature_set: the dataset's, with the run's changes.
      dataset: of `data_dir`.
      data_dir: where the shards lie.

    Raises:
      InputError: rows for a recipe of requests, no stages, no candidate that was not shown, or labels of one class.
    """
    where, needs = f"recipe {config.recipe.name!r}", recipe.needs()
    _check_record(config, recipe)
    if "stages" in needs and STAGE not in {column.name for column in feature_set.columns_of(config.record)}:
        raise InputError(
            where,
            f"a dataset without the column {STAGE!r}",
            "how far each candidate got",
            "choose a source that logs it, such as simulator or recflow, or options without stages",
        )
    files = shard_paths(data_dir, dataset, config.record, "train")
    _check_labels(config, feature_set, dataset, files)
    if "unexposed" in needs and not _has_unexposed(files, feature_set):
        raise InputError(
            f"{data_dir}, split train",
            f"requests of which every candidate was shown, for {where}",
            "candidates that were not shown",
            "import requests with all their candidates, or choose the recipe single or mutual_learning",
        )


def _check_record(config: RunConfig, recipe: Recipe) -> None:
    if "requests" in recipe.needs() and config.record != "request":
        raise InputError(
            f"recipe {config.recipe.name!r}",
            "record 'row'",
            "requests, which hold the candidates that were not shown, too",
            "set `record: request` on a dataset that has requests, or choose the recipe single or mutual_learning",
        )


def _check_labels(config: RunConfig, feature_set: FeatureSet, dataset: Dataset, files: Sequence[str]) -> None:
    split = dataset.records[config.record]["train"]
    if 0 < split.positives < split.examples:
        return
    # Labels between 0 and 1 are no positives, and teach all the same.
    rate = mean_label(files, parse_spec(feature_set, config.record, (LABEL, EXPOSED, CANDIDATE, WEIGHT)))
    if rate is None or rate in (0.0, 1.0):
        received = "no label" if rate is None else f"labels that are all {rate:g}"
        fix = "check the import's label, or take a longer time"
        raise FaultyData("split train", received, "labels of both classes, 0 and 1", fix)


def _has_unexposed(files: Sequence[str], feature_set: FeatureSet) -> bool:
    spec = parse_spec(feature_set, "request", (CANDIDATE, EXPOSED))
    for masks in parsed(serialized(files, _READ_AT_ONCE), spec):
        if bool(tf.reduce_any((masks[CANDIDATE] > 0) & (masks[EXPOSED] == 0))):
            return True
    return False
