"""DUET's co-training; tests of its network: test_set_ranker.py, of training: test_duet_training.py."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.clicks import Clicks, conditional_loss, symmetric_kl
from models.cotraining.duet import Duet
from models.cotraining.peers import head_weights
from models.layers.linear_attention import LinearAttention
from models.preranking.cold import Cold
from tests.helpers.duet_pairs import CLICKED, SHOWN, compiled, pair, ranker, train_step, two_heads
from tests.helpers.set_batches import INPUTS, REAL, SIZES, moved, set_batch, with_more_padding
from transforms.features import CANDIDATE


def _logit(probability: Any) -> Any:
    return np.log(probability) - np.log1p(-np.asarray(probability))


def _clicks(label: Any, shown: Any, real: Any = None) -> Clicks:
    features = {} if real is None else {CANDIDATE: tf.constant(real, tf.int64)}
    return Clicks(tf.constant(label, tf.float32), tf.constant(shown, tf.float32), features)


def _of_batch() -> Clicks:
    return Clicks(tf.constant(CLICKED), tf.constant(SHOWN), set_batch())


def _terms(duet: Duet, clicks: Clicks, *probabilities: Any) -> dict[str, float]:
    logits = [tf.constant(_logit(p), tf.float32) for p in probabilities]
    return {name: float(term) for name, term in duet.loss_terms(clicks, logits, [[], []]).items()}


def _bce(target: Any, p: Any) -> Any:
    return -(np.asarray(target) * np.log(p) + (1 - np.asarray(target)) * np.log1p(-np.asarray(p)))


# One request: the first candidate was shown and clicked, the second shown and not, the others not shown.
_LABEL, _EXPOSED = [[1.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0, 0.0]]
_A, _B = [[0.8, 0.4, 0.3, 0.6]], [[0.5, 0.1, 0.9, 0.2]]


def test_eq8_eq10_labels_are_clicks_where_shown_and_the_peers_probabilities_elsewhere_by_hand() -> None:
    of_a = -(np.log(0.8) + np.log(0.6) + 0.9 * np.log(0.3) + 0.1 * np.log(0.7) + 0.2 * np.log(0.6) + 0.8 * np.log(0.4))
    of_b = -(np.log(0.5) + np.log(0.9) + 0.3 * np.log(0.9) + 0.7 * np.log(0.1) + 0.6 * np.log(0.2) + 0.4 * np.log(0.8))
    found = _terms(pair(), _clicks(_LABEL, _EXPOSED), _A, _B)
    assert found["bce"] == pytest.approx((of_a + of_b) / 4, rel=1e-5)


def test_eq11_conditional_bce_by_hand() -> None:
    p, labels = tf.constant(_logit(_A), tf.float32), tf.constant(_B, tf.float32)
    loss = conditional_loss(_clicks(_LABEL, _EXPOSED), p, labels)
    # Targets 1, 0, 0.9, 0.2, over |E + N| = 4.
    assert float(loss) == pytest.approx(_bce([1, 0, 0.9, 0.2], _A[0]).sum() / 4, rel=1e-5)


def test_eq9_consistency_is_the_symmetric_kl_divergence_by_its_definition() -> None:
    p, q = np.array(_A), np.array(_B)
    one = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    other = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    found = _terms(pair(consistency_weight=0.25), _clicks(_LABEL, _EXPOSED), _A, _B)
    assert found["consistency"] == pytest.approx(0.25 * ((one + other) / 2).mean(), rel=1e-5)
    unexposed = _terms(pair(consistency_weight=1.0, consistency_support="unexposed"), _clicks(_LABEL, _EXPOSED), _A, _B)
    assert unexposed["consistency"] == pytest.approx(((one + other) / 2)[:, 2:].mean(), rel=1e-5)


def test_eq9_by_hand() -> None:
    # p = 1/2, q = 3/4: 1/2 (1/2 - 3/4)(0 - ln 3).
    kl = symmetric_kl(tf.constant(0.0), tf.constant(np.log(3.0), tf.float32))
    assert float(kl) == pytest.approx(np.log(3) / 8, rel=1e-6)
    assert np.isfinite(float(symmetric_kl(tf.constant(200.0), tf.constant(-200.0))))


def test_eq7_degrees_normalise_both_streams_of_both_peers() -> None:
    duet = moved(pair(), set_batch())
    for peer in duet.peers:
        for attention in peer.attentions.values():
            assert isinstance(attention, LinearAttention) and attention.feature_map == "elu1"
    logs = train_step(compiled(duet))
    for stream in ("history", "candidates"):
        for peer in ("peer_0", "peer_1"):
            assert 0 < logs[f"degree_min/{stream}/{peer}"] <= logs[f"degree_max/{stream}/{peer}"] < np.inf


def test_group_mean_weighs_both_parts_by_hand() -> None:
    known = _bce([1, 0], [0.8, 0.4]).mean() + _bce([1, 0], [0.5, 0.1]).mean()
    given = _bce([0.9, 0.2], [0.3, 0.6]).mean() + _bce([0.3, 0.6], [0.9, 0.2]).mean()
    clicks = _clicks(_LABEL, _EXPOSED)
    found = _terms(pair(average="group_mean", unexposed_weight=0.5), clicks, _A, _B)
    assert found["bce"] == pytest.approx(known + 0.5 * given, rel=1e-5)
    union = _terms(pair(unexposed_weight=0.5), clicks, _A, _B)
    assert union["bce"] == pytest.approx((2 * known + 0.5 * 2 * given) / 4, rel=1e-5)


def test_sharpened_and_weighed_labels_by_hand() -> None:
    clicks, logits = _clicks(_LABEL, _EXPOSED), tf.constant(_logit(_A), tf.float32)
    sharp = 1 / (1 + np.exp(-2 * _logit(np.array(_B))))[0]
    expected = _bce([1, 0, sharp[2], sharp[3]], _A[0]).sum() / 4
    labels = pair(label_temperature=0.5)._labels(tf.constant(_logit(_B), tf.float32))
    assert float(conditional_loss(clicks, logits, labels)) == pytest.approx(expected, rel=1e-5)
    # |2 x 0.9 - 1| = 0.8, |2 x 0.2 - 1| = 0.6.
    weighed = _bce([1, 0, 0.9, 0.2], _A[0]) @ [1, 1, 0.8, 0.6] / 4
    found = conditional_loss(clicks, logits, tf.constant(_B, tf.float32), by_confidence=True)
    assert float(found) == pytest.approx(weighed, rel=1e-5)


def test_pseudo_labels_and_consistency_grow_with_the_steps() -> None:
    duet = compiled(pair(warmup_steps=4, consistency_schedule="ramp", consistency_steps=2, average="group_mean"))
    clicks, found = _clicks(_LABEL, _EXPOSED), []
    for step in range(5):
        duet.optimizer.iterations.assign(step)
        found.append(_terms(duet, clicks, _A, _B))
    bce = np.array([terms["bce"] for terms in found])
    np.testing.assert_allclose(np.diff(bce), [(bce[4] - bce[0]) / 4] * 4, rtol=1e-4)
    assert bce[0] == pytest.approx(_bce([1, 0], [0.8, 0.4]).mean() + _bce([1, 0], [0.5, 0.1]).mean(), rel=1e-5)
    consistency = np.array([terms["consistency"] for terms in found])
    np.testing.assert_allclose(consistency / consistency[-1], [0, 0.5, 1, 1, 1], rtol=1e-5)


@pytest.mark.parametrize("average", ["union", "group_mean"])
def test_padding_counts_nowhere(average: Any) -> None:
    duet, real = pair(average=average), [[1, 1, 1, 0]]
    shown = [[1.0, 1.0, 0.0, 0.0]]
    with_padding = _terms(duet, _clicks(_LABEL, shown, real), _A, _B)
    without = _terms(duet, _clicks([_LABEL[0][:3]], [shown[0][:3]]), [_A[0][:3]], [_B[0][:3]])
    assert with_padding == pytest.approx(without, rel=1e-5)


@pytest.mark.parametrize("average", ["union", "group_mean"])
def test_invariant_5_all_exposed_is_plain_bce(average: Any) -> None:
    found = _terms(pair(average=average), _clicks(_LABEL, np.ones((1, 4))), _A, _B)
    assert found["bce"] == pytest.approx(_bce(_LABEL, _A).mean() + _bce(_LABEL, _B).mean(), rel=1e-5)


@pytest.mark.parametrize("average", ["union", "group_mean"])
def test_invariant_5_peers_of_the_same_weights_have_no_consistency_and_the_entropy_for_loss(average: Any) -> None:
    duet = Duet([ranker(1), ranker(1)], average=average)
    moved(duet.peers[0], set_batch())
    duet(set_batch())
    for index in range(2):
        duet.load_peer(index, duet.peers[0])
    clicks = Clicks(tf.constant(CLICKED), tf.zeros([3, 4]), set_batch())
    outputs = duet(set_batch())
    np.testing.assert_array_equal(outputs["peer_0"], outputs["peer_1"])
    terms = duet.loss_terms(clicks, list(outputs.values()), [[], []])
    p = 1 / (1 + np.exp(-outputs["peer_0"].numpy().astype(np.float64)[REAL]))
    assert float(terms["consistency"]) == 0
    assert float(terms["bce"]) == pytest.approx(2 * _bce(p, p).mean(), rel=1e-5)


@pytest.mark.parametrize("average", ["union", "group_mean"])
def test_a_soft_label_from_itself_moves_nothing(average: Any) -> None:
    logits = tf.constant(_logit(_A), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = conditional_loss(_clicks(_LABEL, _EXPOSED), logits, tf.sigmoid(logits), average=average)
    gradient = tape.gradient(loss, logits).numpy()[0]
    assert gradient[:2].all()
    np.testing.assert_allclose(gradient[2:], 0, atol=1e-7)


@pytest.mark.parametrize("average", ["union", "group_mean"])
def test_invariant_6_labels_carry_no_gradient(average: Any) -> None:
    logits = [tf.constant(_logit(p), tf.float32) for p in (_A, _B)]
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = pair(average=average, consistency_weight=0).loss_terms(_clicks(_LABEL, _EXPOSED), logits, [[], []])[
            "bce"
        ]
    targets = ([1, 0, 0.9, 0.2], [1, 0, 0.3, 0.6])
    # Each logit has what its own loss gives it: (p - t) over |E + N|, or over |E| and |N|, both 2.
    for gradient, p, target in zip(tape.gradient(loss, logits), (_A, _B), targets):
        np.testing.assert_allclose(gradient[0], (np.array(p[0]) - target) / (4 if average == "union" else 2), rtol=1e-4)


def _by_peer(duet: Duet, loss: tf.Tensor, tape: tf.GradientTape) -> list[bool]:
    """Whether each peer's parameters, its columns of the tables among them, get a gradient of the loss."""
    heads = [head_weights(peer) for peer in duet.peers]
    tables = [duet.embeddings.table, duet.embeddings.number_vectors]
    gradients = tape.gradient(loss, [heads, tables], unconnected_gradients="zero")
    found = []
    for k, own in enumerate(gradients[0]):
        columns = [tf.gather(tf.convert_to_tensor(part), duet.embeddings.columns(k), axis=1) for part in gradients[1]]
        moves = {bool(tf.reduce_any(part != 0)) for part in (*own, *columns)}
        found.append(any(moves))
    return found


@pytest.mark.parametrize("average", ["union", "group_mean"])
def test_invariant_6_the_loss_of_a_peer_reaches_no_parameter_of_the_other(average: Any) -> None:
    duet, clicks = moved(pair(), set_batch()), _of_batch()
    for k in range(2):
        with tf.GradientTape() as tape:
            logits = list(duet(set_batch(), training=True).values())
            loss = conditional_loss(clicks, logits[k], tf.sigmoid(logits[1 - k]), average=average)
        assert _by_peer(duet, loss, tape) == [k == 0, k == 1]


@pytest.mark.parametrize("support", ["real", "unexposed"])
def test_invariant_6_consistency_reaches_both(support: Any) -> None:
    duet = moved(pair(consistency_support=support), set_batch())
    with tf.GradientTape() as tape:
        logits = list(duet(set_batch(), training=True).values())
        loss = duet.loss_terms(_of_batch(), logits, [[], []])["consistency"]
    assert _by_peer(duet, loss, tape) == [True, True]


@pytest.mark.parametrize("make", [pair, two_heads])
def test_invariant_7_an_exported_peer_is_one_model_and_answers_as_in_the_pair(make: Any) -> None:
    duet = compiled(make())
    moved(duet, set_batch())
    train_step(duet)
    outputs = duet(set_batch())
    single = ranker()
    single(set_batch())
    for index, name in enumerate(outputs):
        alone = duet.peer(index)
        np.testing.assert_allclose(alone(set_batch()).numpy()[REAL], outputs[name].numpy()[REAL], rtol=1e-5, atol=1e-6)
        assert [weight.shape for weight in alone.trainable_weights] == [w.shape for w in single.trainable_weights]
        run = tf.function(lambda batch, alone=alone: alone(batch), autograph=False)
        graph = run.get_concrete_function(set_batch()).graph
        # Variables of the graph: the model's own, none of its peer's.
        own = {id(weight.handle) for weight in alone.weights}
        assert {id(variable.handle) for variable in graph.variables} <= own


def test_a_shared_backbone_is_smaller_than_two_models() -> None:
    models = two_heads(), pair()
    for duet in models:
        duet(set_batch())
    sizes = [sum(int(tf.size(weight)) for weight in duet.trainable_weights) for duet in models]
    # A last layer of 5 inputs and a bias, once more, is all that the second head costs.
    assert sizes[0] == sizes[1] / 2 + 6
    assert list(models[0](set_batch())) == ["peer_0", "peer_1"]


def test_invariant_3_padding_changes_no_score_and_no_loss() -> None:
    duet = moved(pair(), set_batch())
    wide = with_more_padding(set_batch())
    wider = duet(wide)
    for name, logits in duet(set_batch()).items():
        np.testing.assert_allclose(wider[name].numpy()[:, :4][REAL], logits.numpy()[REAL], rtol=1e-4, atol=1e-5)
    label, shown = (tf.constant(np.pad(part, ((0, 0), (0, 3)))) for part in (CLICKED, SHOWN))
    expected = duet.loss_terms(_of_batch(), list(duet(set_batch()).values()), [[], []])
    found = duet.loss_terms(Clicks(label, shown, wide), list(wider.values()), [[], []])
    for name, term in expected.items():
        assert float(found[name]) == pytest.approx(float(term), rel=1e-4)


def test_agreement_and_disagreement_by_hand() -> None:
    duet, clicks = pair(), _clicks(_LABEL, [[1.0, 0, 0, 0]], [[1, 1, 1, 0]])
    p, q = [[0.5, 0.30, 0.6, 0.9]], [[0.505, 0.32, 0.604, 0.1]]
    duet.watch(clicks, [tf.constant(_logit(part), tf.float32) for part in (p, q)])
    logs = duet.get_metrics_result()
    # Of the three real candidates the first and the third differ by less than 0.01; unexposed are two.
    assert float(logs["agreement"]) == pytest.approx(2 / 3)
    assert float(logs["disagreement"]) == pytest.approx((0.02 + 0.004) / 2, rel=1e-4)
    assert float(logs["prediction/unexposed"]) == pytest.approx((0.31 + 0.602) / 2, rel=1e-5)


def test_a_saved_config_gives_the_pair_back() -> None:
    options: dict[str, Any] = {"consistency_weight": 0.3, "consistency_schedule": "cosine", "consistency_steps": 7}
    options |= {"consistency_support": "unexposed", "average": "group_mean", "unexposed_weight": 0.5}
    options |= {"warmup_steps": 3, "label_temperature": 0.5, "by_confidence": True}
    duet = pair(**options)
    copy = Duet.from_config(duet.get_config())
    assert copy.get_config() == duet.get_config()
    assert {key: copy.get_config()[key] for key in options} == options
    for one, other in zip(copy(set_batch()).values(), duet(set_batch()).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_point_wise_peers_learn_from_each_other_too() -> None:
    peers = [Cold(INPUTS, SIZES, embedding_dim=2, hidden_units=(4,), seed=seed) for seed in (1, 2)]
    logs = train_step(compiled(Duet(peers)))
    # All start at 1/2: every cross entropy is ln 2, whatever the label.
    assert logs["loss/bce"] == pytest.approx(2 * np.log(2), rel=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Duet([ranker()]),
            "peers have 1 outputs together; expected 2; give two models, or one with outputs=2",
        ),
        (lambda: Duet([ranker(k) for k in range(3)]), "peers have 3 outputs"),
        (lambda: Duet([ranker(), Cold(INPUTS, SIZES)]), "peers are SetRanker, Cold: some read requests as sets"),
        (lambda: pair(average="mean"), "average is 'mean'; expected one of union, group_mean"),
        (lambda: pair(consistency_support="all"), "consistency_support is 'all'"),
        (lambda: pair(label_temperature=0.0), "label_temperature is 0.0; expected above 0"),
        (lambda: pair(consistency_weight=-0.1), "weight is -0.1"),
        (lambda: pair(unexposed_weight=-1.0), "weight is -1.0"),
    ],
)
def test_wrong_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
