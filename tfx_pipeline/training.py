"""Train one model on transformed examples and export it: the same for TFX and for `consort train`."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from consort.config import RunConfig, TrainingConfig
from models.cotraining.base import Recipe, Trained, build_recipe
from models.registry import build_model
from models.retrieval.tower_model import TowerModel
from models.table_model import TableModel
from models.training.checkpoints import read_weights
from models.training.compiling import precision
from models.training.distribution import num_servers, strategy_of, unshard
from models.training.job import FitSettings, TrainingJob
from models.training.memory import check_memory, table_bytes
from serving.export.export import export_model
from serving.export.signatures import ServedModel
from serving.retrieval.catalogue import Catalogue, catalogue_at, catalogue_of, user_columns
from serving.retrieval.recall import catalogued, recall_of
from serving.retrieval.signatures import ServedTowers
from serving.teacher import TeacherExport
from tfx_pipeline.distributed import check_one_process
from tfx_pipeline.short_runs import batch_size_of, smaller_batches, warnings_of
from tfx_pipeline.training_data import TrainingData, data_in_time_order, transformed_data
from transforms.errors import InputError
from transforms.features import FeatureSet
from transforms.plain_text import parse_json
from transforms.vocabularies import table_sizes, written_ids

if TYPE_CHECKING:
    from tfx_pipeline.earlier_caches import Carried

RUN_FILE, CHECKPOINT_DIR = "run.json", "checkpoints"
GOLDEN_COUNT = 64
"""Raw records that travel with a model: for warm-up, and with the trainer's scores for checks."""


@dataclass(frozen=True)
class Task:
    """What to train on.

    Args:
      config: the run.
      feature_set: the declaration, with the config's changes applied.
      transform: learned from the train split.
      train_files, eval_files: transformed TFRecords; no eval files means no early stop.
      run: see `provenance.run_info`; travels with the model.
      warmup_examples: some raw records, for the exported model's warm-up.
      raw_files: raw TFRecords of each split, in the order of time.
      teacher: the ranker of an earlier run that the recipe learns from; None: of no one.
    """

    config: RunConfig
    feature_set: FeatureSet
    transform: tft.TFTransformOutput
    train_files: Sequence[str]
    eval_files: Sequence[str]
    run: dict[str, Any]
    warmup_examples: Sequence[bytes]
    raw_files: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    teacher: TeacherExport | None = None


def model_of(
    config: RunConfig,
    feature_set: FeatureSet,
    sizes: dict[str, int],
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """The config's model, its weights a function of the seed.

    Args:
      config: the run.
      feature_set: the declaration.
      sizes: ids of each space.
      seed: None: the config's.
      name: of another class, a peer's, which then takes no `model.options`; None: the config's.
    """
    seed = config.seed if seed is None else seed
    keras.utils.set_random_seed(seed)
    model, training = config.model, config.training
    with precision(training.precision):
        return build_model(
            name or model.name,
            feature_set.model_inputs(config.record),
            sizes,
            embedding_dim=model.embedding_dim,
            hidden_units=model.hidden_units,
            dropout=model.dropout,
            batch_norm=model.batch_norm,
            embedding_l2=training.embedding_l2,
            seed=seed,
            **_unless_default(training, "l2_scope", "jit_compile"),
            **(model.options if name in (None, model.name) else {}),
        )


def _unless_default(section: TrainingConfig, *names: str) -> dict[str, Any]:
    # A model of one's own need not take what nobody asks it for.
    values = {name: getattr(section, name) for name in names}
    return {name: value for name, value in values.items() if value != TrainingConfig.model_fields[name].default}


def recipe_of(config: RunConfig) -> Recipe:
    """The config's way to train.

    Raises:
      InputError: no such recipe, or options that it does not take.
    """
    try:
        return build_recipe(config.recipe.name, **config.recipe.options)
    except (TypeError, ValueError) as error:
        fix = "correct the section recipe of the run file; see `consort config show`"
        raise InputError("recipe", str(error), "a recipe and its options", fix) from error


def train(
    task: Task,
    checkpoint_dir: str | os.PathLike[str],
    strategy: tf.distribute.Strategy | None = None,
    say: Callable[[str], None] = lambda text: None,
    log_dir: str | os.PathLike[str] | None = None,
) -> Trained:
    """Trains by the config's recipe; continues from the last checkpoints in `checkpoint_dir` if there are any.

    Args:
      task: what to train on.
      checkpoint_dir: of the checkpoints.
      strategy: to train under; None: what `training.distribution` says, in this process alone.
      say: is told what of an earlier run's caches is carried over, unless this run began before.
      log_dir: of TensorBoard's event files, which stay when the checkpoints go; None: among the checkpoints.

    Raises:
      InputError: the tables do not fit into memory, the run is to be spread over processes without a strategy, or it
        begins with caches that do not fit.
    """
    config, recipe = task.config, recipe_of(task.config)
    settings = config.training
    if strategy is None:
        check_one_process(config, "in one process")
        strategy = strategy_of(settings.distribution)
    sizes = table_sizes(task.feature_set, task.transform)
    _check_memory(config, recipe, sizes, strategy)
    carried = _carried(task)
    if carried is not None and not has_checkpoints(checkpoint_dir):
        say(carried.told())
    # The transform's tables belong to this process, whatever the weights belong to.
    data = data_in_time_order(task) if recipe.in_time_order else transformed_data(task, strategy)
    lowered = smaller_batches(settings, data.examples)
    if lowered is not None:
        say(lowered)
    job = _job(task, sizes, data, carried)
    if log_dir is not None:
        job = dataclasses.replace(job, log_dir=lambda folder: Path(log_dir) / folder.relative_to(checkpoint_dir))
    with strategy.scope():
        trained = recipe.train(job, Path(checkpoint_dir))
    if carried is not None:
        trained = dataclasses.replace(trained, report={**trained.report, "caches_from": carried.report})
    trained = dataclasses.replace(
        trained,
        warnings=tuple(warnings_of(trained, settings, data.examples, data.eval_rate)),
        changes=() if lowered is None else (lowered,),
    )
    is_plain = settings.precision == "float32" and not settings.jit_compile and settings.distribution == "none"
    if is_plain or not isinstance(trained.model, TableModel):
        return trained
    # A server may have neither bfloat16 nor XLA, and no other machines, and answers should not depend on them.
    return dataclasses.replace(trained, model=_plain(trained.model))


def has_checkpoints(directory: str | os.PathLike[str]) -> bool:
    """Whether a run that keeps its checkpoints there has begun."""
    return any(Path(directory).rglob("*.index"))


def _carried(task: Task) -> "Carried | None":
    from tfx_pipeline.earlier_caches import carried_to

    return carried_to(task.config, task.feature_set, task.transform, task.run)


def _job(task: Task, sizes: dict[str, int], data: TrainingData, carried: "Carried | None") -> TrainingJob:
    config = task.config
    settings = config.training
    fields = {item.name for item in dataclasses.fields(FitSettings)}
    return TrainingJob(
        build=lambda seed, name: model_of(config, task.feature_set, sizes, seed, name),
        train_dataset=data.train,
        eval_dataset=data.eval,
        steps_per_epoch=-(-data.examples // batch_size_of(settings, data.examples)),
        settings=FitSettings(**{key: value for key, value in settings.model_dump().items() if key in fields}),
        seed=config.seed,
        load=lambda folder: _pretrained(folder, task, sizes),
        written_ids=written_ids(task.feature_set, sizes),
        base_rate=data.base_rate,
        teacher_width=task.teacher.hidden_width if task.teacher else 0,
        carried={} if carried is None else carried.contents,
    )


def _check_memory(config: RunConfig, recipe: Recipe, sizes: dict[str, int], strategy: tf.distribute.Strategy) -> None:
    limit = config.training.memory_limit_gb
    widths = recipe.row_widths(config.model.embedding_dim + 1)
    needed = table_bytes(sizes, widths, slots=1 if config.training.optimizer == "adagrad" else 2)
    what, servers = f"{sum(sizes.values()):,} ids", num_servers(strategy)
    if servers:
        # They are taken to have as much memory as the chief.
        needed, what = needed // servers, f"{what} on {servers} parameter servers, each"
    check_memory(needed, None if limit is None else int(limit * 1e9), what)


def read_run(where: str, folder: str) -> tuple[dict[str, Any], RunConfig]:
    """What a run tells of itself, and its config.

    Args:
      where: key of the run file that names it.
      folder: of the run.

    Raises:
      InputError: it is the folder of no run.
    """
    try:
        run = dict(parse_json((Path(folder) / RUN_FILE).read_text()))
        return run, RunConfig.model_validate(run["config"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        fix = "name a folder that `consort train`, or for caches `consort online`, wrote"
        raise InputError(where, str(error), "a finished run", fix) from error


def check_earlier_run(folder: str, config: RunConfig, dataset_sha256: str) -> RunConfig:
    """The config of a finished run of `consort train`, if its vocabulary is that of this run.

    Raises:
      InputError: it is no such run, or one on other data or features.
    """
    where = f"recipe.options.pretrained, {folder}"
    run, earlier = read_run(where, folder)
    found, wanted = (run.get("dataset_sha256"), earlier.features), (dataset_sha256, config.features)
    for name, one, other in zip(("dataset_sha256", "features"), found, wanted, strict=True):
        if one != other:
            fix = "pretrain on the same dataset and features: ids of another vocabulary mean other things"
            raise InputError(where, f"a run with {name} {one}", f"{name} {other}", fix)
    return earlier


def _pretrained(folder: str, task: Task, sizes: dict[str, int]) -> keras.Model:
    """The model of a finished run of `consort train`, with its weights."""
    config = check_earlier_run(folder, task.config, str(task.run["dataset_sha256"]))
    model = model_of(config, task.feature_set, sizes)
    model.embeddings.build(None)
    model.build_head()
    read_weights(Path(folder) / CHECKPOINT_DIR, model)
    return model


def _plain(model: TableModel) -> TableModel:
    """A copy in this process that computes in float32, without XLA."""
    with precision("float32"):
        copy = type(model).from_config({**model.get_config(), "jit_compile": False})
    copy.embeddings.build(None)
    copy.build_head()
    for target, source in zip(copy.weights, unshard(model.weights), strict=True):
        target.assign(tf.convert_to_tensor(source))
    return copy


def finished_run(task: Task, trained: Trained) -> dict[str, Any]:
    """The run as `run.json` and the contract tell it: what made the model and how training went."""
    notes = {"warnings": list(trained.warnings), "changes": list(trained.changes)}
    told = {name: value for name, value in notes.items() if value}
    run = {**task.run, "training": {**dataclasses.asdict(trained.result), **told}}
    # What was known of the recipe from the start, its teacher, stands there already.
    return {**run, "recipe": {**trained.report, **run.get("recipe", {})}} if trained.report else run


def catalogue(task: Task, model: keras.Model) -> Catalogue | None:
    """What two towers retrieve from: all items of the train and eval splits, as they last were; None for others."""
    if not isinstance(model, TowerModel) or not task.raw_files:
        return None
    files = [file for split in task.raw_files.values() for file in split]
    return catalogue_of(files, task.feature_set, task.config.record)


def retrieval_metrics(task: Task, model: keras.Model, items: Catalogue | None) -> dict[str, Any]:
    """How often two towers find what was clicked in the eval split among all items, as `retrieval` of `run.json`.

    The items are those of the catalogue, with the values that they had when the eval split began: newer ones know of
    the clicks that are asked about.

    Args:
      task: what the model was trained on.
      model: trained.
      items: of `catalogue`; None: nothing is measured.

    Returns:
      `{"retrieval": ...}`: `split`, and what `recall_of` gives; nothing for other models, and without a click.
    """
    files = task.raw_files.get("eval")
    if items is None or not files or not isinstance(model, TowerModel):
        return {}
    feature_set, record = task.feature_set, task.config.record
    served = ServedModel(model, task.transform, feature_set, record)
    then = catalogue_at(task.raw_files["train"], files, feature_set, record)
    found = catalogued(ServedTowers(model, served.features, feature_set, record, then))
    columns = [column.name for column in user_columns(feature_set)]
    recall = recall_of(found, files, columns, feature_set, record)
    return {"retrieval": {"split": "eval", **recall}} if recall else {}


def export(
    task: Task,
    model: keras.Model,
    run: dict[str, Any],
    directory: str | os.PathLike[str],
    items: Catalogue | None = None,
) -> None:
    """Writes the trained model as a SavedModel with its preprocessing, warm-up and contract.

    Args:
      task: what the model was trained on.
      model: trained.
      run: of `finished_run`.
      directory: becomes the SavedModel.
      items: of `catalogue`.
    """
    export_model(
        directory,
        task.config.name,
        model,
        task.transform,
        task.feature_set,
        task.config.record,
        run,
        task.warmup_examples,
        items,
    )
