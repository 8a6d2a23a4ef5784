"""The baselines of DUET: each one's loss by hand, where its gradients go, and what it leaves to serve."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.cotraining.base import build_recipe
from models.cotraining.clicks import Clicks
from models.cotraining.entire_space import METHODS, EntireSpaceRecipe, with_outputs
from models.cotraining.peers import PeerModel
from models.preranking.cold import Cold
from models.preranking.set_ranker import SetRanker
from models.training.job import FitSettings, TrainingJob
from tests.helpers.set_batches import INPUTS, REAL, SIZES, set_batch
from transforms.features import CANDIDATE, STAGE

# Two requests. E: three candidates, the first of which was clicked; N: two; the last one is padding.
_REAL = [[1, 1, 1], [1, 1, 0]]
_SHOWN = [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
# What stands where nothing was shown is no label.
_LABEL = [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
_STAGES = [[3, 3, 1], [3, 2, 0]]
_P = [[0.8, 0.4, 0.3], [0.6, 0.2, 0.99]]
_ON_E = np.array([-np.log(0.8), -np.log(0.6), -np.log(0.4)])
_PROPENSITY = [[0.5, 0.25, 0.1], [0.02, 0.4, 0.9]]
_OF_PROPENSITY = -np.log([0.5, 0.25, 0.9, 0.02, 0.6]).sum() / 5
_INVERSE = np.array([2, 4, 20])  # 0.02 is clipped at 0.05.


def _ranker(seed: int = 1, outputs: int = 1) -> SetRanker:
    return SetRanker(INPUTS, SIZES, embedding_dim=2, hidden_units=(4,), width=4, heads=2, outputs=outputs, seed=seed)


def _group(method: str, **options: Any) -> PeerModel:
    recipe = EntireSpaceRecipe(method, options)
    return recipe.group([_ranker(k, outputs) for k, outputs in enumerate(recipe.outputs())])


def _clicks(*left_out: str) -> Clicks:
    features = {CANDIDATE: tf.constant(_REAL, tf.int64), STAGE: tf.constant(_STAGES, tf.int64)}
    told = {name: value for name, value in features.items() if name not in left_out}
    return Clicks(tf.constant(_LABEL), tf.constant(_SHOWN), told)


def _logit(probability: Any) -> tf.Tensor:
    p = np.asarray(probability, np.float64)
    return tf.constant(np.log(p) - np.log1p(-p), tf.float32)


def _bce(target: Any, p: Any) -> np.ndarray:
    target, p = np.asarray(target, np.float64), np.asarray(p, np.float64)
    return -(target * np.log(p) + (1 - target) * np.log1p(-p))


def _terms(group: PeerModel, logits: Sequence[Any], sides: Sequence[Any] = ((),)) -> dict[str, float]:
    found = group.loss_terms(_clicks(), [_logit(p) for p in logits], [[_logit(p) for p in side] for side in sides])
    assert tuple(found) == tuple(group.loss_names)
    return {name: float(term) for name, term in found.items()}


def _gradients(group: PeerModel, term: str, logits: Sequence[Any], sides: Sequence[Any] = ((),)) -> list[Any]:
    """Of a term, by each of the logits and then by each of the sides; None where there is no path."""
    clicked, beside = [_logit(p) for p in logits], [[_logit(p) for p in side] for side in sides]
    with tf.GradientTape() as tape:
        every = [*clicked, *(p for side in beside for p in side)]
        tape.watch(every)
        loss = group.loss_terms(_clicks(), clicked, beside)[term]
    return [None if found is None else found.numpy() for found in tape.gradient(loss, every)]


def test_unexposed_negatives_by_hand() -> None:
    on_n = -np.log([0.7, 0.8]).sum()
    assert _terms(_group("unexposed_negatives"), [_P]) == pytest.approx({"bce": (_ON_E.sum() + on_n) / 5}, rel=1e-5)
    half = _terms(_group("unexposed_negatives", unexposed_weight=0.5), [_P])
    assert half["bce"] == pytest.approx((_ON_E.sum() + on_n / 2) / 5, rel=1e-5)


def test_the_weight_matched_control_is_the_exposed_loss_made_smaller() -> None:
    found = _terms(_group("weight_matched"), [_P])
    assert found["bce"] == pytest.approx(3 / 5 * _ON_E.mean(), rel=1e-5)


@pytest.mark.parametrize(("average", "of_e", "of_n"), [("union", 5, 5), ("group_mean", 3, 2)])
@pytest.mark.parametrize("weight", [1, 1.0])
def test_soft_self_training_by_hand_has_no_gradient_on_unexposed(
    average: str, of_e: int, of_n: int, weight: float
) -> None:
    group = _group("self_training", average=average, unexposed_weight=weight)
    entropy = _bce([0.3, 0.2], [0.3, 0.2]).sum()
    assert _terms(group, [_P])["bce"] == pytest.approx(_ON_E.sum() / of_e + entropy / of_n, rel=1e-5)
    (gradient,) = _gradients(group, "bce", [_P])
    np.testing.assert_allclose(gradient, np.array([[-0.2, 0.4, 0], [0.6, 0, 0]]) / of_e, atol=1e-7)


def test_hard_self_training_labels_what_it_is_sure_of() -> None:
    # 0.95 is a click, 0.05 none; between the thresholds nothing counts.
    sure = [[0.8, 0.4, 0.95], [0.6, 0.05, 0.99]]
    found = _terms(_group("hard_self_training"), [sure])
    assert found["bce"] == pytest.approx((_ON_E.sum() - 2 * np.log(0.95)) / 5, rel=1e-5)
    assert _terms(_group("hard_self_training"), [_P])["bce"] == pytest.approx(_ON_E.sum() / 5, rel=1e-5)
    wide = _group("hard_self_training", negative_below=0.25)
    assert _terms(wide, [_P])["bce"] == pytest.approx((_ON_E.sum() - np.log(0.8)) / 5, rel=1e-5)
    (gradient,) = _gradients(wide, "bce", [_P])
    assert gradient[1, 1] == pytest.approx(0.2 / 5, rel=1e-5)
    assert gradient[0, 2] == gradient[1, 2] == 0


def test_ips_by_hand() -> None:
    found = _terms(_group("ips"), [_P], [[], [_PROPENSITY]])
    assert found == pytest.approx({"bce": _INVERSE @ _ON_E / 5, "propensity": _OF_PROPENSITY}, rel=1e-5)


_IMPUTED = [[0.7, 0.5, 0.4], [0.1, 0.3, 0.6]]


def test_dr_by_hand() -> None:
    guessed = _bce([0.7, 0.5, 0.1], [0.8, 0.4, 0.6])
    unexposed = _bce([0.4, 0.3], [0.3, 0.2])
    expected = {
        "bce": (guessed.sum() + unexposed.sum() + _INVERSE @ (_ON_E - guessed)) / 5,
        "propensity": _OF_PROPENSITY,
        "imputation": _INVERSE @ (_ON_E - guessed) ** 2 / 5,
    }
    assert _terms(_group("dr"), [_P], [[], [_PROPENSITY], [_IMPUTED]]) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_a_ranker_moves_neither_propensity_nor_imputation_and_theirs_not_the_ranker() -> None:
    for method, sides in (("ips", [[], [_PROPENSITY]]), ("dr", [[], [_PROPENSITY], [_IMPUTED]])):
        ranker, *others = _gradients(_group(method), "bce", [_P], sides)
        assert np.abs(ranker[0]).min() > 0 or method == "ips"
        assert others == [None] * len(others)
        moved = _gradients(_group(method), "propensity", [_P], sides)
        assert [part is not None for part in moved] == [False, True, *([False] * (len(moved) - 2))]
    ranker, propensity, imputed = _gradients(_group("dr"), "imputation", [_P], [[], [_PROPENSITY], [_IMPUTED]])
    assert ranker is None and propensity is None
    # d/dz w (l - l')^2 / 5 = -2 w (l - l') dl'/dz / 5, dl'/dz = -r (1 - r) logit p; of the first candidate:
    difference = _ON_E[0] - _bce(0.7, 0.8)
    assert imputed[0, 0] == pytest.approx(2 * 2 * difference * 0.7 * 0.3 * np.log(4) / 5, rel=1e-4)
    assert imputed[0, 2] == imputed[1, 1] == imputed[1, 2] == 0


def test_escm2_by_hand() -> None:
    both = np.array([0.8 * 0.5, 0.4 * 0.25, 0.3 * 0.1, 0.6 * 0.02, 0.2 * 0.4])
    expected = {
        "bce": 0.1 * (_INVERSE @ _ON_E) / 5,
        "exposure": _OF_PROPENSITY,
        "joint": _bce([1, 0, 0, 0, 0], both).sum() / 5,
    }
    assert _terms(_group("escm2"), [_P], [[_PROPENSITY]]) == pytest.approx(expected, rel=1e-4)
    weighed = _terms(_group("escm2", click_weight=1.0, joint_weight=0.5, clip=0.25), [_P], [[_PROPENSITY]])
    assert weighed["bce"] == pytest.approx(np.array([2, 4, 4]) @ _ON_E / 5, rel=1e-5)
    assert weighed["joint"] == pytest.approx(expected["joint"] / 2, rel=1e-4)


def test_the_clicks_loss_of_escm2_moves_no_propensity_and_the_joint_one_both() -> None:
    click, exposure = _gradients(_group("escm2"), "bce", [_P], [[_PROPENSITY]])
    assert exposure is None and click[0].any()
    assert all(part.any() for part in _gradients(_group("escm2"), "joint", [_P], [[_PROPENSITY]]))


_OTHER, _TEACHER = [[0.7, 0.5, 0.6], [0.6, 0.2, 0.5]], [[0.9, 0.2, 0.4], [0.3, 0.1, 0.5]]


def test_ukd_by_hand() -> None:
    # The heads differ on one unexposed candidate: p = 0.3, q = 0.6.
    doubt = 0.5 * (0.3 - 0.6) * (np.log(0.3 / 0.7) - np.log(0.6 / 0.4))
    told = np.exp(-doubt) * (_bce(0.4, 0.3) + _bce(0.4, 0.6)) + 2 * doubt + 2 * _bce(0.1, 0.2)
    expected = {
        "bce": _ON_E.mean() - np.log([0.7, 0.5, 0.4]).mean(),
        "teacher": -np.log([0.9, 0.8, 0.7]).mean(),
        "distillation": told / 2,
    }
    assert _terms(_group("ukd"), [_P, _OTHER], [[], [_TEACHER]]) == pytest.approx(expected, rel=1e-5)
    half = _terms(_group("ukd", unexposed_weight=0.5), [_P, _OTHER], [[], [_TEACHER]])
    assert half["distillation"] == pytest.approx(told / 4, rel=1e-5)


def test_no_loss_of_the_student_moves_its_teacher() -> None:
    for term, moved in (("bce", [True, True, False]), ("distillation", [True, True, False]), ("teacher", [False] * 2)):
        found = _gradients(_group("ukd"), term, [_P, _OTHER], [[], [_TEACHER]])
        assert [part is not None for part in found][: len(moved)] == moved
    assert not found[2][0, 2] and found[2][0, 0]


def test_stage_ranking_by_hand_counts_pairs_within_a_request() -> None:
    # Clicked 4 > shown 3 > 1 in the first request, 3 > 2 in the second; no pair with padding.
    s = np.log(_P) - np.log1p(-np.array(_P))
    pairs = [s[0, 0] - s[0, 1], s[0, 0] - s[0, 2], s[0, 1] - s[0, 2], s[1, 0] - s[1, 1]]
    found = _terms(_group("stage_ranking"), [_P])
    assert found == pytest.approx({"pairs": np.log1p(np.exp(-np.array(pairs))).mean()}, rel=1e-5)


def test_stage_ranking_keeps_the_epoch_with_the_least_loss_of_pairs() -> None:
    group = _group("stage_ranking")
    assert float(group.monitored({"pairs": tf.constant(0.7)}, [tf.constant(9.0)])) == pytest.approx(0.7)


def test_stage_heads_by_hand() -> None:
    second, third = [[0.9, 0.8, 0.3], [0.6, 0.7, 0.01]], [[0.5, 0.4, 0.2], [0.9, 0.1, 0.99]]
    at_least_second = _bce([1, 1, 0, 1, 1], [0.9, 0.8, 0.3, 0.6, 0.7]).sum() / 5
    at_least_third = _bce([1, 1, 0, 1, 0], [0.5, 0.4, 0.2, 0.9, 0.1]).sum() / 5
    found = _terms(_group("stage_heads", stage_weight=0.5), [_P], [[second, third]])
    expected = {"bce": _ON_E.mean(), "stage": 0.5 * (at_least_second + at_least_third)}
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("method", "sides"), [("stage_ranking", []), ("stage_heads", [_P, _P])])
def test_records_without_stages_are_refused(method: str, sides: list[Any]) -> None:
    beside = [[_logit(p) for p in sides]]
    with pytest.raises(ValueError, match="the records have no column 'stage'.*choose a source that logs it"):
        _group(method).loss_terms(_clicks(STAGE), [_logit(_P)], beside)


@pytest.mark.parametrize("method", METHODS)
def test_padding_counts_nowhere(method: str) -> None:
    group = _group(method)
    beside = [[tf.constant(k / 10 + _logit(_P)) for k in range(side)] for side in group.side_outputs]
    logits = [_logit(_P) + k / 10 for k in range(len(group.peer_names))]
    padding = tf.constant([[0.0, 0.0, 0.0], [0.0, 0.0, 30.0]])
    one = group.loss_terms(_clicks(), logits, beside)
    other = group.loss_terms(
        _clicks(), [own + padding for own in logits], [[own - padding for own in side] for side in beside]
    )
    assert {name: float(term) for name, term in one.items()} == {name: float(term) for name, term in other.items()}


def _job() -> TrainingJob:
    shown = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]], np.float32)
    batch = {**set_batch(), STAGE: tf.constant(REAL * 1 + shown.astype(np.int64))}
    label = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32)
    rows = tf.data.Dataset.from_tensors((batch, label, shown))
    return TrainingJob(
        build=lambda seed, name: _ranker(seed),
        train_dataset=lambda seed, epoch: rows.repeat(2),
        eval_dataset=rows,
        steps_per_epoch=2,
        settings=FitSettings(learning_rate=0.01),
        seed=3,
    )


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_leaves_one_model_with_the_parameters_of_one(method: str, tmp_path: Path) -> None:
    recipe = EntireSpaceRecipe(method)
    recipe.check([_ranker()])
    trained = recipe.train(_job(), tmp_path)
    assert trained.report == {"recipe": "entire_space", "method": method} and trained.result.steps == 2
    assert np.isfinite(trained.result.history[-1]["eval_logloss"])
    alone, start = _ranker(), _ranker(3)
    served = trained.model(set_batch())
    assert served.shape == (3, 4) and alone(set_batch()).shape == (3, 4)
    start(set_batch())
    shapes = [weight.shape for weight in trained.model.trainable_weights]
    assert shapes == [weight.shape for weight in alone.trainable_weights]
    # The tables began as those of one model of this seed, and moved.
    change = np.abs(trained.model.embeddings.weights[0].numpy() - start.embeddings.weights[0].numpy()).max()
    assert 1e-4 < change < 0.1


def test_row_widths_are_those_of_all_models_at_once() -> None:
    widths = {method: EntireSpaceRecipe(method).row_widths(9) for method in ("self_training", "ips", "dr", "ukd")}
    assert widths == {"self_training": [9], "ips": [9, 9], "dr": [9, 9, 9], "ukd": [9, 9]}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "dre"}, "method is 'dre'; expected one of unexposed_negatives"),
        ({"method": "ips", "options": {"clipp": 1}}, "method 'ips' has no option 'clipp'; expected some of clip"),
        ({"method": "weight_matched", "options": {"unexposed_weight": 1}}, "no option 'unexposed_weight'"),
        ({"method": "stage_heads", "stages": 0}, "stages is 0; expected at least 1"),
        ({"methods": "ips"}, "no option 'methods'; expected one of .*; did you mean 'method'"),
    ],
)
def test_wrong_options_are_told_before_anything_is_built(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build_recipe("entire_space", **options)


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("ips", {"clip": 0}, "clip is 0; expected above 0 and at most 1"),
        ("hard_self_training", {"negative_below": 0.95}, "negative_below is 0.95, positive_above 0.9"),
    ],
)
def test_wrong_values_are_told_by_the_check(method: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        EntireSpaceRecipe(method, options).check([_ranker()])


def test_models_of_another_kind_are_told_by_the_check() -> None:
    point_wise = Cold(INPUTS, SIZES, embedding_dim=2, hidden_units=(4,))
    EntireSpaceRecipe("dr").check([point_wise])
    with pytest.raises(ValueError, match="Cold has one output; expected a model that takes `outputs`, here 2"):
        EntireSpaceRecipe("escm2").check([point_wise])
    with pytest.raises(ValueError, match="Sequential cannot be a peer"):
        EntireSpaceRecipe("dr").check([keras.Sequential()])


def test_a_model_gets_as_many_outputs_as_the_method_needs() -> None:
    assert EntireSpaceRecipe("stage_heads", stages=4).outputs() == [5]
    model = _ranker(7)
    assert with_outputs(model, 1) is model
    more = with_outputs(model, 3)
    assert (more.outputs, more.embeddings.get_config()["seed"]) == (3, 7)
