"""What a Duet pair does over several steps; tests of its equations: test_duet.py."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.duet import Duet
from tests.helpers.duet_pairs import CLICKED, SHOWN, compiled, pair, ranker, train_step
from tests.helpers.layer_check import policy
from tests.helpers.set_batches import REAL, moved, set_batch


def test_consistency_draws_the_peers_together() -> None:
    def apart(weight: float) -> float:
        duet = moved(pair(consistency_weight=weight), set_batch())
        compiled(duet)
        for _ in range(8):
            logs = train_step(duet)
        return logs["disagreement"]

    assert apart(30.0) < 0.5 * apart(0.0)


def test_logs_hold_terms_peers_and_monitors() -> None:
    logs = train_step(compiled(pair()))
    expected = {"loss", "loss/bce", "loss/consistency", "logloss", "examples", "agreement", "disagreement"}
    expected |= {"prediction/unexposed", *(f"{metric}/peer_{k}" for metric in ("auc", "logloss") for k in range(2))}
    expected |= {
        f"degree_{end}/{stream}/peer_{k}"
        for end in ("min", "max")
        for stream in ("history", "candidates")
        for k in range(2)
    }
    assert set(logs) == expected
    assert logs["loss"] == pytest.approx(logs["loss/bce"] + logs["loss/consistency"], rel=1e-5)


def test_peers_start_as_they_would_alone_and_differ() -> None:
    outputs = list(pair()(set_batch()).values())
    for seed, logits in zip((1, 2), outputs):
        np.testing.assert_allclose(logits.numpy()[REAL], ranker(seed)(set_batch()).numpy()[REAL], rtol=1e-5, atol=1e-8)
    assert (outputs[0].numpy() != outputs[1].numpy()).any()


def test_with_everything_exposed_and_no_consistency_peers_train_as_they_would_alone() -> None:
    duet = compiled(pair(consistency_weight=0.0))
    singles = [compiled(ranker(seed)) for seed in (1, 2)]
    shown = REAL.astype(np.float32)
    for _ in range(3):
        for model in (duet, *singles):
            model.train_on_batch(set_batch(), CLICKED, shown)
    for logits, single in zip(duet(set_batch()).values(), singles):
        np.testing.assert_allclose(logits.numpy()[REAL], single(set_batch()).numpy()[REAL], rtol=1e-3, atol=1e-5)


def test_a_restored_pair_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def make() -> Duet:
        # What each step does depends on the steps before it: the warm-up, and what dropout hides.
        peers = [ranker(seed, dropout=0.2, field_dropout=0.2) for seed in (1, 2)]
        duet: Duet = compiled(Duet(peers, warmup_steps=5))
        return duet

    whole, first, second = make(), make(), make()
    for _ in range(4):
        train_step(whole)
    for _ in range(2):
        train_step(first)
    tf.train.Checkpoint(model=first, optimizer=first.optimizer).write(str(tmp_path / "pair"))
    second(set_batch())
    second.optimizer.build(second.trainable_variables)
    read = tf.train.Checkpoint(model=second, optimizer=second.optimizer).read(str(tmp_path / "pair"))
    read.assert_existing_objects_matched()
    for _ in range(2):
        train_step(second)
    for one, other in zip(second.trainable_variables, whole.trainable_variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert int(second.optimizer.iterations) == 4


def test_trains_in_mixed_bfloat16() -> None:
    with policy("mixed_bfloat16"):
        duet = compiled(pair())
    for _ in range(3):
        logs = train_step(duet)
    assert np.isfinite(list(logs.values())).all()
    assert {logits.dtype for logits in duet(set_batch()).values()} == {tf.float32}
    assert {weight.dtype for weight in duet.trainable_weights} == {tf.float32}


def test_fit_evaluates_both() -> None:
    dataset = tf.data.Dataset.from_tensors((set_batch(), CLICKED, SHOWN)).repeat(2)
    history = compiled(pair()).fit(dataset, validation_data=dataset, verbose=0).history
    for name in ("loss", "agreement", "logloss/peer_0", "logloss/peer_1", "auc/peer_1"):
        assert np.isfinite([history[name][0], history[f"val_{name}"][0]]).all()
