"""Golden answers: each signature of an export is compared with the trainer, and the one that differs is named."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.export.golden import GOLDEN_SCORES, TOLERANCE, VECTOR_TOLERANCE, check_golden
from serving.loading import Scorer
from tests.helpers.served_towers import ToyTowers
from transforms.errors import GateRefused, InputError

_SIGNATURES = {"serving_default", "examples", "user_embedding", "item_embedding"}


@pytest.fixture(scope="module")
def scorer(towers: ToyTowers) -> Scorer:
    return Scorer(towers.version)


def test_every_signature_that_gives_scores_or_vectors_is_compared(towers: ToyTowers, scorer: Scorer) -> None:
    asked: list[tuple[str, int]] = []

    def ask(signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        asked.append((signature, len(next(iter(inputs.values())))))
        return scorer.ask(signature, inputs)

    found = check_golden(towers.version, ask)
    assert set(found) == _SIGNATURES and max(found.values()) <= TOLERANCE
    # All records together, and some of them alone.
    for name in found:
        assert [size for one, size in asked if one == name] == [24, 1, 1, 1]
    assert set(check_golden(towers.version, scorer.ask, ["examples"])) == _SIGNATURES - {"examples"}


def _worse(values: np.ndarray, allowed: float) -> np.ndarray:
    # What one record's answer is off by; of numbers above 1 what is allowed grows with them.
    changed = values.astype(np.float64)
    changed.reshape(-1)[-1] += 2 * allowed * max(1.0, abs(float(changed.reshape(-1)[-1])))
    return changed


def _nothing(values: np.ndarray, allowed: float) -> np.ndarray:
    return np.full_like(values, np.nan)


def _fewer(values: np.ndarray, allowed: float) -> np.ndarray:
    return values[..., :-1] if values.ndim > 1 else values[:-1]


@pytest.mark.parametrize("change", [_worse, _nothing, _fewer])
@pytest.mark.parametrize("name", sorted(_SIGNATURES))
def test_a_signature_that_differs_is_named(towers: ToyTowers, scorer: Scorer, name: str, change: Any) -> None:
    def ask(signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        answer = scorer.ask(signature, inputs)
        allowed = VECTOR_TOLERANCE if signature.endswith("embedding") else TOLERANCE
        return {key: change(value, allowed) for key, value in answer.items()} if signature == name else answer

    with pytest.raises(GateRefused, match=f"rejected by golden records:\n  - {name}: an answer differs") as caught:
        check_golden(towers.version, ask)
    assert len(caught.value.reasons) == 1


def test_an_earlier_export_is_asked_for_the_scores_that_it_has(
    towers: ToyTowers, scorer: Scorer, tmp_path: Path
) -> None:
    earlier = shutil.copytree(towers.version, tmp_path / "1")
    told = json.loads((earlier / GOLDEN_SCORES).read_text())
    (earlier / GOLDEN_SCORES).write_text(json.dumps({"probability": told["probability"]}))
    assert set(check_golden(earlier, scorer.ask)) == {"serving_default", "examples"}
    (earlier / GOLDEN_SCORES).unlink()
    with pytest.raises(InputError, match="expected golden scores beside the model"):
        check_golden(earlier, scorer.ask)
