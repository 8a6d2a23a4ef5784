"""One recipe for all baselines that use unexposed candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from models.cotraining.base import Recipe, Trained
from models.cotraining.entire_space_methods import (
    Escm2,
    InversePropensity,
    SelfTraining,
    StageHeads,
    StageRanking,
    UncertaintyDistillation,
    UnexposedNegatives,
)
from models.cotraining.peers import PeerModel, check_peers
from models.layers.arguments import checked_choice
from models.training.job import TrainingJob


@dataclass(frozen=True)
class Method:
    """A baseline.

    Args:
      group_class: the class of the group of models.
      outputs: outputs that each model must have; None: any number above one.
      fixed: arguments of the class that make the method what it is.
      of_stages: True if it learns from how far candidates got instead of from which were shown.
    """

    group_class: type[PeerModel]
    outputs: tuple[int | None, ...] = (1,)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    of_stages: bool = False

    @property
    def options(self) -> list[str]:
        """Names of the arguments that a run may choose."""
        return [item.name for item in fields(self.group_class.options_class) if item.name not in self.fixed]


METHODS: dict[str, Method] = {
    "unexposed_negatives": Method(UnexposedNegatives),
    "weight_matched": Method(UnexposedNegatives, fixed={"unexposed_weight": 0.0}),
    "self_training": Method(SelfTraining, fixed={"hard": False}),
    "hard_self_training": Method(SelfTraining, fixed={"hard": True}),
    "ips": Method(InversePropensity, (1, 1), {"estimator": "ips"}),
    "dr": Method(InversePropensity, (1, 1, 1), {"estimator": "dr"}),
    "escm2": Method(Escm2, (2,)),
    "ukd": Method(UncertaintyDistillation, (2, 1)),
    "stage_ranking": Method(StageRanking, of_stages=True),
    "stage_heads": Method(StageHeads, (None,), of_stages=True),
}
"""Methods by name; each serves one model, its first output."""


@dataclass(frozen=True)
class EntireSpaceRecipe(Recipe):
    """Trains one model by one of the methods that use unexposed candidates, to compare DUET with.

    Methods whose models need several outputs (`escm2`, `ukd`, `stage_heads`) get them: the run's model must
    take `outputs`.

    Args:
      method: a key of `METHODS`.
      options: further arguments of the method's class.
      stages: stages beyond the first that `stage_heads` predicts.
    """

    method: str = "unexposed_negatives"
    options: dict[str, Any] = field(default_factory=dict)
    stages: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_choice("method", self.method, list(METHODS))
        known = METHODS[self.method].options
        for option in self.options:
            if option not in known:
                raise ValueError(
                    f"method {self.method!r} has no option {option!r}; expected some of {', '.join(known) or 'none'}; "
                    "correct it"
                )
        if self.stages < 1:
            raise ValueError(f"stages is {self.stages}; expected at least 1; 2 are ranked and exposed")

    def needs(self) -> frozenset[str]:
        return frozenset({"requests", "stages" if METHODS[self.method].of_stages else "unexposed"})

    def row_widths(self, width: int) -> list[int]:
        return [width] * len(METHODS[self.method].outputs)

    def check(self, models: Sequence[Any]) -> None:
        check_peers(models)
        self.group([with_outputs(models[0], count) for count in self.outputs()])

    def outputs(self) -> list[int]:
        """Returns the number of outputs of each model."""
        return [1 + self.stages if count is None else count for count in METHODS[self.method].outputs]

    def group(self, peers: Sequence[Any]) -> PeerModel:
        """Returns the group of models that the method trains."""
        method = METHODS[self.method]
        return method.group_class(peers, **method.fixed, **self.options)

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        counts = self.outputs()
        peers = [with_outputs(job.build(job.seed + index, None), count) for index, count in enumerate(counts)]
        group = self.group(peers)
        group.build_variables()
        result = job.fit(group, directory / "together", job.settings, job.seed)
        return Trained(group.peer(0), result, {"recipe": "entire_space", "method": self.method})


def with_outputs(model: Any, outputs: int) -> Any:
    """Returns a model of the same class and options with a number of outputs; a new one is not yet built.

    Raises:
      ValueError: its class has one output.
    """
    if model.outputs == outputs:
        return model
    config = model.get_config()
    if "outputs" not in config:
        raise ValueError(
            f"{type(model).__name__} has one output; expected a model that takes `outputs`, here {outputs}; choose "
            "set_ranker"
        )
    return type(model).from_config({**config, "outputs": outputs, "name": None})
