"""CS3 with a frozen teacher: the caches take what batches bring along, the towers never see it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.base import Recipe, build_recipe
from models.cotraining.cs3 import CS3, RANKER, CS3Recipe
from models.ranking.target_attention_ranker import TargetAttentionRanker
from models.registry import build_model
from models.retrieval.dssm import DSSM
from models.training.job import FitSettings, TrainingJob
from models.training.optimizers import LazyAdam
from tests.helpers.model_batches import ROW, SIZES
from tests.helpers.tower_pairs import cs3, events, moved
from transforms.features import TEACHER_HIDDEN, TIMESTAMP

pytestmark = pytest.mark.usefixtures("eagerly")

_WIDTH, _IDS = 2, {"user_feature": "user", "item_feature": "item"}


def _taught(**options: Any) -> CS3:
    arguments: dict[str, Any] = {**_IDS, "teacher_width": _WIDTH, **options}
    return CS3(DSSM(ROW, SIZES, embedding_dim=3, hidden_units=(6, 4)), None, **arguments)


def _batch(count: int = 12, seed: int = 0) -> tuple[dict[str, Any], tf.Tensor]:
    features, label = events(count, seed)
    return {**features, TEACHER_HIDDEN: tf.random.stateless_normal([count, _WIDTH], [seed, 5])}, label


def _stepped(model: CS3, batch: Any, learning_rate: float = 0.01) -> dict[str, Any]:
    model.compile(optimizer=LazyAdam(learning_rate))
    logs: dict[str, Any] = model.train_step(batch)
    return logs


def test_the_caches_hold_the_moving_average_of_what_the_teacher_told_by_hand() -> None:
    features: dict[str, Any] = {
        "user": tf.constant([1, 2, 1]),
        "item": tf.constant([3, 3, 4]),
        "history": tf.ragged.constant([[1], [], [2, 3]], dtype=tf.int64),
        "price": tf.zeros([3]),
        # The last event of the batch is the first in time.
        TIMESTAMP: tf.constant([20, 30, 10], tf.int64),
        TEACHER_HIDDEN: tf.constant([[2.0, 4.0], [6.0, 8.0], [10.0, 0.0]]),
    }
    model = moved(_taught(beta=0.5), features)
    _stepped(model, (features, tf.constant([0.0, 1.0, 0.0])))
    user, item = (model.caches.stores[f"cascade_{side}"].vectors.numpy() for side in ("user", "item"))
    # User 1: (10, 0) / 2 = (5, 0), then (5, 0) / 2 + (2, 4) / 2 = (3.5, 2). Item 3: (1, 2), then (3.5, 5).
    np.testing.assert_allclose(user[1:3], [[3.5, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(item[3:5], [[3.5, 5.0], [5.0, 0.0]])
    assert not user[3:].any() and not item[1:3].any()


def test_there_is_no_ranker_and_nothing_is_told_of_one() -> None:
    batch = _batch()
    model = moved(_taught(), batch[0])
    logs = _stepped(model, batch)
    assert set(model(batch[0])) == {"towers"} and model.ranker is None
    assert {"loss/bce", "logloss/towers", "auc/towers"} <= set(logs)
    assert not [name for name in logs if "ranker" in name]
    assert float(logs["loss"]) == pytest.approx(float(logs["loss/bce"]))
    beside = moved(cs3(), batch[0])
    assert model.embeddings.table.shape[1] == 3 and beside.embeddings.table.shape[1] == 6
    alone = moved(DSSM(ROW, SIZES, embedding_dim=3, hidden_units=(6, 4)), batch[0])
    assert len(model.trainable_weights) == len(alone.trainable_weights) < len(beside.trainable_weights)


def test_the_towers_begin_as_beside_a_ranker() -> None:
    features, _ = _batch()
    taught, beside = _taught(), cs3()
    for model in (taught, beside):
        model(features)
    np.testing.assert_array_equal(taught.embeddings.table.numpy(), beside.embeddings.table.numpy()[:, :3])


def test_the_towers_do_not_see_what_the_teacher_tells_of_a_row_itself() -> None:
    features, label = _batch()
    other = {**features, TEACHER_HIDDEN: features[TEACHER_HIDDEN] * 100 + 7}
    one, two = (moved(_taught(), features) for _ in range(2))
    np.testing.assert_array_equal(one(features)["towers"].numpy(), two(other)["towers"].numpy())
    logs = [_stepped(model, (batch, label)) for model, batch in ((one, features), (two, other))]
    assert float(logs[0]["loss"]) == float(logs[1]["loss"])
    for left, right in zip(one.trainable_weights, two.trainable_weights, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
    # Of the next step it is what they see.
    assert not np.allclose(one(features)["towers"].numpy(), two(features)["towers"].numpy())


def test_evaluation_and_scores_need_no_teacher() -> None:
    features, label = _batch()
    model = moved(_taught(), features)
    _stepped(model, (features, label))
    plain = {name: value for name, value in features.items() if name != TEACHER_HIDDEN}
    np.testing.assert_array_equal(model(plain)["towers"].numpy(), model(features)["towers"].numpy())
    assert np.isfinite(float(model.test_step((plain, label))["loss"]))
    np.testing.assert_allclose(model.peer(0)(plain).numpy(), model(plain)["towers"].numpy(), rtol=1e-5)


def test_a_config_brings_it_back() -> None:
    features, _ = _batch()
    model = moved(_taught(beta=0.6), features)
    again = CS3.from_config(model.get_config())
    again(features)
    assert again.ranker is None and (again.teacher_width, again.options.beta) == (_WIDTH, 0.6)
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in model.weights]


@pytest.mark.parametrize(("has_ranker", "width"), [(False, 0), (True, 2)])
def test_neither_and_both_sources_are_refused(has_ranker: bool, width: int) -> None:
    ranker = TargetAttentionRanker(ROW, SIZES, embedding_dim=3, hidden_units=(5, 3)) if has_ranker else None
    with pytest.raises(ValueError, match=f"ranker and teacher_width {width}; expected one source of h"):
        CS3(
            DSSM(ROW, SIZES, embedding_dim=3, hidden_units=(6, 4)),
            ranker,
            teacher_width=width,
            user_feature="user",
            item_feature="item",
        )


def _job(**settings: Any) -> TrainingJob:
    batches = [_batch(12, seed) for seed in range(4)]
    specs = tf.nest.map_structure(
        lambda value: (
            tf.RaggedTensorSpec([None, None], value.dtype, 1, value.row_splits.dtype)
            if isinstance(value, tf.RaggedTensor)
            else tf.TensorSpec([None, *value.shape[1:]], value.dtype)
        ),
        batches[0],
    )

    def build(seed: int, name: str | None) -> Any:
        assert name is None, f"{name} is built beside the towers"
        return build_model("dssm", ROW, SIZES, embedding_dim=2, hidden_units=(5, 3), seed=seed)

    return TrainingJob(
        build=build,
        train_dataset=lambda seed, epoch: tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=specs),
        eval_dataset=None,
        steps_per_epoch=4,
        settings=FitSettings(**{"learning_rate": 0.02, "checkpoint_steps": 1, **settings}),
        seed=3,
        base_rate=0.2,
        external={"teacher": SimpleNamespace(hidden_width=_WIDTH)},
    )


def _recipe(**options: Any) -> Recipe:
    return build_recipe("cs3", **_IDS, teacher="somewhere", **options)


def test_the_recipe_trains_the_towers_alone_and_says_so(tmp_path: Path) -> None:
    trained = _recipe(alpha=0.7).train(_job(), tmp_path)
    model: Any = trained.model
    assert model.caches.stores["cascade_user"].vectors.shape[1] == _WIDTH
    assert trained.report["cached_ids"]["cascade_item"] == 6
    assert trained.report["towers"] == "DSSM" and "ranker" not in trained.report


def test_a_run_that_was_killed_ends_with_the_same_towers_and_caches(tmp_path: Path) -> None:
    whole = _recipe().train(_job(), tmp_path / "whole")
    _recipe().train(_job(max_steps=2), tmp_path / "killed")
    again = _recipe().train(_job(), tmp_path / "killed")
    assert again.result.resumed_from == 2
    for one, other in zip(whole.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.name)


def _inputs(recipe: Recipe) -> list[str]:
    return [one.option for one in recipe.external_inputs()]


def test_the_recipe_asks_for_no_other_model_and_for_one_table() -> None:
    assert (_recipe().model_names(), _recipe().row_widths(9), _inputs(_recipe())) == ([], [9], ["teacher"])
    plain = CS3Recipe()
    assert (plain.model_names(), plain.row_widths(9), _inputs(plain)) == ([RANKER], [9, 9], [])
    _recipe().check([build_model("dssm", ROW, SIZES, hidden_units=(4, 3))])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"teacher": "ranker", "cms": False}, "teacher is 'ranker' and cms False; expected cms True"),
        ({"teacher": ""}, "teacher is ''; expected the path of an exported ranker"),
        ({"teacher": 5}, "teacher is 5; expected the path of an exported ranker"),
    ],
)
def test_a_teacher_that_nothing_reads_or_that_is_no_path_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build_recipe("cs3", **options)
