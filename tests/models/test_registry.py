import pytest

from models.ranking.deepfm import DeepFM
from models.registry import MODELS, build_model
from tests.helpers.model_batches import REQUEST, SIZES
from transforms.features import ModelInput

_INPUTS = (ModelInput(name="user", vocabulary="users", shape="scalar", entity="user"),)
_SIZES = {"users": 5}
_IDS = {"dat": {"user_feature": "user", "item_feature": "item"}, "int_tower": {"item_feature": "item"}}


@pytest.mark.parametrize("name", ["deepfm", "models.ranking.deepfm.DeepFM"])
def test_builds_by_name_and_by_path(name: str) -> None:
    model = build_model(name, _INPUTS, _SIZES, embedding_dim=3, hidden_units=[4])
    assert type(model) is DeepFM
    assert model.get_config()["embedding_dim"] == 3


@pytest.mark.parametrize("name", list(MODELS))
def test_every_short_name_leads_to_a_model(name: str) -> None:
    # Requests, which all models take.
    assert build_model(name, REQUEST, SIZES, **_IDS.get(name, {})).get_config()["table_sizes"] == SIZES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("depfm", "did you mean 'deepfm'"),
        ("xyz", "expected one of deepfm.*choose one of these"),
        ("no_such_package.Model", "No module named"),
        ("models.ranking.deepfm.DepFM", "did you mean 'DeepFM'"),
        ("models.layers.mlp.MLP", "expected a subclass of tf_keras.Model"),
    ],
)
def test_an_unknown_name_is_refused_with_advice(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, _INPUTS, _SIZES)


def test_an_unknown_argument_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no option 'hiden_units'; expected one of .*; did you mean 'hidden_units'"):
        build_model("deepfm", _INPUTS, _SIZES, hiden_units=(3,))
