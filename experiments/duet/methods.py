"""The methods by name: what each trains, and which outputs are measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from transforms.packages import PREFIX

SERVED, ENSEMBLE = "served", "ensemble"
DUET, DUET_STAGES, SINGLE = "duet", "duet_stages", "single"
LAMBDA = "duet_lambda_"


@dataclass(frozen=True)
class Method:
    """A way to train what is served.

    Args:
      model: name of `models.registry`.
      model_options: of every model.
      outputs: of each model; nothing where `baseline` knows.
      baseline: a key of `models.cotraining.entire_space.METHODS`.
      pair: options of `DuetRecipe`; None is no pair.
      recipe: of a pair.
      options: of the baseline.
      warmup: share of the greatest number of steps in which the pseudo-labels' weight grows.
      schedule_share: share of them in which the consistency weight changes.
      tuned_as: the method whose learning rate it takes; empty: this one.
    """

    model: str = "set_ranker"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[int, ...] = (1,)
    baseline: str = ""
    pair: Mapping[str, Any] | None = None
    recipe: str = "duet"
    options: Mapping[str, Any] = field(default_factory=dict)
    warmup: float = 0.0
    schedule_share: float = 0.0
    tuned_as: str = ""


def _baseline(name: str, **options: Any) -> Method:
    return Method(baseline=name, outputs=(), options=options)


_VIEWS = f"{PREFIX}experiments.duet.views"
_PAPER = {"consistency_weight": 0.1, "average": "union"}
_PAIR = Method(outputs=(1, 1), pair=_PAPER, tuned_as=DUET)


def _changed(**options: Any) -> Method:
    return replace(_PAIR, pair={**_PAPER, **options})


METHODS: dict[str, Method] = {
    "two_tower": Method("two_tower"),
    "cold": Method("cold"),
    "set_pointwise": Method(model_options={"streams": ()}),
    SINGLE: Method(),
    "unexposed_negatives": _baseline("unexposed_negatives"),
    "weight_matched": _baseline("weight_matched"),
    "self_training": _baseline("self_training"),
    "hard_self_training": _baseline("hard_self_training"),
    "ips": _baseline("ips"),
    "dr": _baseline("dr"),
    "escm2": _baseline("escm2"),
    "ukd": _baseline("ukd"),
    "stage_ranking": _baseline("stage_ranking"),
    "stage_heads": _baseline("stage_heads"),
    # `union` makes the exposed loss of a pair as small as |E| / |E + N|, a tenth or so, beside that of the stages.
    "stage_heads_10": _baseline("stage_heads", stage_weight=10.0),
    DUET: replace(_PAIR, tuned_as=""),
    DUET_STAGES: Method(outputs=(3, 3), pair={**_PAPER, "stage_weight": 1.0}),
    # The rankers of DUET with nothing between them: each learns from exposed candidates alone.
    "two_singles": Method(
        outputs=(1, 1), pair={"consistency_weight": 0.0, "unexposed_weight": 0.0, "average": "group_mean"},
        tuned_as=SINGLE,
    ),
    "duet_no_kl": _changed(consistency_weight=0.0),
    "duet_no_labels": _changed(unexposed_weight=0.0),
    "duet_no_history": replace(_PAIR, model_options={"streams": ("candidates",)}),
    "duet_no_candidates": replace(_PAIR, model_options={"streams": ("history",)}),
    "duet_pointwise": replace(_PAIR, model_options={"streams": ()}),
    "duet_shared": replace(_PAIR, outputs=(2,)),
    "duet_group_mean": _changed(average="group_mean"),
    "duet_sharp": _changed(label_temperature=0.7),
    "duet_by_confidence": _changed(by_confidence=True),
    "duet_warmup": replace(_PAIR, warmup=0.1),
    "duet_views": replace(_PAIR, model_options={"field_dropout": 0.2}),
    "duet_classes": _changed(models=("set_ranker", "two_tower")),
    "duet_ids_content": _changed(models=(f"{_VIEWS}.IdRanker", f"{_VIEWS}.ContentRanker")),
    "duet_bagged": replace(_PAIR, recipe=f"{_VIEWS}.BaggedDuetRecipe"),
    "duet_stages_views": Method(
        outputs=(3, 3), pair={**_PAPER, "stage_weight": 1.0}, model_options={"field_dropout": 0.2},
        tuned_as=DUET_STAGES,
    ),
    **{
        f"duet_{schedule}": replace(_changed(consistency_schedule=schedule), schedule_share=0.5)
        for schedule in ("ramp", "cosine", "step")
    },
}  # fmt: skip
"""Methods by name; `duet_lambda_<weight>` is `duet` with that consistency weight."""

ROWS: dict[str, tuple[str, str]] = {
    "duet_ensemble": (DUET, ENSEMBLE),
    "duet_stages_ensemble": (DUET_STAGES, ENSEMBLE),
    "two_singles_ensemble": ("two_singles", ENSEMBLE),
    **{
        f"{name}_ensemble": (name, ENSEMBLE)
        for name in ("duet_views", "duet_classes", "duet_ids_content", "duet_bagged")
    },
}
"""Rows that are no methods: the mean logit of both models of a run."""

STAGED = frozenset(
    name for name, method in METHODS.items() if "stage" in method.baseline or (method.pair or {}).get("stage_weight")
)
"""Methods that need to know how far each candidate got."""

RATES = {
    "user_rate": "user's click rate (no model)",
    "item_rate": "item's click rate (no model)",
    "item_user_rate": "item + user click rate (no model)",
}
"""Scores of `experiments.duet.rates`, which are not trained, and their names on the page."""

TITLES = {
    **RATES,
    "two_tower": "two-tower",
    "cold": "COLD-like MLP",
    "set_pointwise": "set ranker without streams",
    SINGLE: "single set ranker",
    "unexposed_negatives": "unexposed as negatives",
    "weight_matched": "weight-matched single",
    "self_training": "soft self-training",
    "hard_self_training": "thresholded self-training",
    "ips": "IPS",
    "dr": "DR",
    "escm2": "ESCM²-style",
    "ukd": "UKD-style",
    "stage_ranking": "FS-LTR stage order",
    "stage_heads": "stage heads",
    "stage_heads_10": "stage heads (weight 10)",
    DUET: "DUET",
    DUET_STAGES: "DUET with stages",
    "two_singles": "two singles (the better)",
    "two_singles_ensemble": "two singles (mean of both)",
    "duet_no_kl": "DUET without KL",
    "duet_no_labels": "DUET without pseudo-labels",
    "duet_no_history": "DUET without history stream",
    "duet_no_candidates": "DUET without candidates stream",
    "duet_pointwise": "DUET without set-wise streams",
    "duet_shared": "DUET on a shared backbone",
    "duet_group_mean": "DUET with group mean",
    "duet_sharp": "DUET with sharper labels (0.7)",
    "duet_by_confidence": "DUET with weights by confidence",
    "duet_warmup": "DUET with labels warmed up",
    "duet_views": "DUET with field dropout 0.2",
    "duet_classes": "DUET of a set ranker and a two-tower",
    "duet_ids_content": "DUET of ids and history against content",
    "duet_bagged": "DUET, each peer with half of the clicks",
    "duet_stages_views": "DUET with stages and field dropout 0.2",
    "duet_ramp": "DUET with λ ramped up",
    "duet_cosine": "DUET with λ down by cosine",
    "duet_step": "DUET with λ from a step on",
}
TITLES = {**{row: f"{TITLES[method]} (mean of both)" for row, (method, _) in ROWS.items()}, **TITLES}


def title(row: str) -> str:
    """Returns a row's name on the page."""
    return f"DUET with λ {row.removeprefix(LAMBDA)}" if row.startswith(LAMBDA) else TITLES.get(row, row)


def source_of(row: str) -> tuple[str, str]:
    """Returns the method that a row is of, and which of its outputs is measured."""
    return ROWS.get(row, (row, SERVED))


def method_of(name: str) -> Method:
    """Returns a method by its name.

    Raises:
      KeyError: there is none.
    """
    if name.startswith(LAMBDA):
        return _changed(consistency_weight=float(name.removeprefix(LAMBDA)))
    return METHODS[name]


def tuned_as(name: str) -> str:
    """Returns the method by whose tuning its learning rate is chosen."""
    return method_of(name).tuned_as or name


def lambda_method(weight: float) -> str:
    """Returns the name of DUET with a consistency weight."""
    return DUET if weight == _PAPER["consistency_weight"] else f"{LAMBDA}{weight:g}"
