"""What a run on a stream begins with: its folder, the transform learned from the first span, and the model."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow_transform as tft
import tf_keras as keras

from models.cotraining.base import Recipe
from models.cotraining.external_inputs import ExternalInput, RunFacts
from runs.building import recipe_of, streaming_model_of
from runs.config import RunConfig
from runs.external_inputs import checked_inputs, load_inputs, reports
from runs.fitting import has_checkpoints
from runs.plan import check_model, facts_of
from runs.provenance import CHECKPOINT_DIR, RUN_FILE, claim, run_identity, run_info
from transforms.beam.runners import check_runner
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.errors import InputError
from transforms.features import Column, FeatureSet
from transforms.files import check_model_folder, write_text
from transforms.integrity import check_files
from transforms.locks import locked
from transforms.records import Dataset, load_dataset
from transforms.spans import files_of, spans_in
from transforms.vocabularies import table_sizes

TRANSFORM_DIR, CONFIG_FILE = "transform", "config.yaml"


@dataclass(frozen=True)
class Setup:
    """What does not change while a stream is learned from; it may be sent to another process.

    Args:
      config: the run.
      recipe: its way to train.
      out: folder of the run.
      stream: folder of the spans.
      columns: of every span.
      feature_set: the declaration, with the config's changes applied.
      info: seed, versions, hash of the first span.
      base_rate: share of clicks in the first span.
      facts: what its external inputs may know.
      inputs: external inputs of the recipe, checked.
      external: what they gave, by option.
    """

    config: RunConfig
    recipe: Recipe
    out: Path
    stream: Path
    columns: tuple[Column, ...]
    feature_set: FeatureSet
    info: dict[str, Any]
    base_rate: float
    facts: RunFacts
    inputs: tuple[ExternalInput, ...] = ()
    external: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def transform(self) -> tft.TFTransformOutput:
        """Learned from the first span."""
        return load_transform(self.out / TRANSFORM_DIR)

    def model(self) -> keras.Model:
        """What learns, its weights a function of the seed."""
        sizes = table_sizes(self.feature_set, self.transform)
        run = (self.config, self.recipe, self.feature_set)
        return streaming_model_of(*run, sizes, self.base_rate, self.external)

    def __getstate__(self) -> dict[str, Any]:
        # Another process reads a checkpoint, and asks for no more rows.
        kept = {one.option for one in self.inputs if not one.first_step_only}
        external = {option: value for option, value in self.external.items() if option in kept}
        return {**vars(self), "inputs": (), "external": external}


def prepared(
    config: RunConfig,
    stream: Path,
    out: Path,
    say: Callable[[str], None],
    stack: contextlib.ExitStack | None = None,
) -> Setup:
    """Checks the run against the stream's first span, and learns the transform from it, if that is not done.

    Args:
      config, stream, out, say: as in `learn_online`.
      stack: gets the lock of `out`, which holds until it is closed; None: `out` is not locked.

    Raises:
      InputError: there is no span, it is of another source, the model cannot be built, the recipe cannot learn
        from a stream, an external input is missing or does not fit, or `out` is another run's or in use by one.
    """
    check_model_folder(out, "--out")
    spans = spans_in(stream)
    if not spans:
        raise InputError(str(stream), "no span", "at least one", "make some with `consort data spans`")
    first = load_dataset(spans[0])
    _check(config, spans[0], first)
    feature_set = config.features.apply(first.feature_set)
    check_model(config, feature_set)
    recipe, facts = recipe_of(config), facts_of(config, first)
    inputs = checked_inputs(facts, from_stream=True)
    info = run_info(config, first.source, first.sha256, inputs)
    check_runner(config.pipeline.beam_args)
    if stack is not None:
        stack.enter_context(locked(out))
    if not (out / TRANSFORM_DIR).exists():
        check_files(files_of(spans[0], first), first.feature_set, "row")
    claim(out, RUN_FILE, identity=run_identity(info), record=info, kind="run")
    write_text(out / CONFIG_FILE, config.to_yaml())
    if not (out / TRANSFORM_DIR).exists():
        say(f"learning the transform from {spans[0].name}")
        beam_args = config.pipeline.beam_args
        transform_dataset(spans[0], first, out / TRANSFORM_DIR, feature_set, "row", (), beam_args=beam_args)
    shown = first.records["row"]["train"]
    rate = shown.positives / shown.examples
    external = load_inputs(inputs, facts, load_transform(out / TRANSFORM_DIR), info)
    summaries = [line for one in inputs if (line := one.summary()) is not None]
    if summaries and not has_checkpoints(out / CHECKPOINT_DIR):
        for line in summaries:
            say(line)
    if reported := reports(inputs):
        info = {**info, "recipe": reported}
    columns = first.feature_set.columns
    return Setup(config, recipe, out, stream, columns, feature_set, info, rate, facts, inputs, external)


def _check(config: RunConfig, span: Path, dataset: Dataset) -> None:
    config.check_source(dataset.source, str(span))
    if config.record != "row":
        raise InputError("record", repr(config.record), "'row': a stream has rows", "set record to row")
    if config.recipe.options.get("pretrain") is not None:
        fix = "leave it out, or use `consort train`"
        raise InputError("recipe.options.pretrain", "options", "none: a stream has no catalogue to begin with", fix)
    if config.training.distribution not in ("none", "parameter_server"):
        found = repr(config.training.distribution)
        raise InputError("training.distribution", found, "'none' or 'parameter_server'", "leave it out")
    if "train" not in dataset.records.get("row", {}):
        raise InputError(str(span), "no row of split train", "rows to learn the transform from", "cut the data anew")
