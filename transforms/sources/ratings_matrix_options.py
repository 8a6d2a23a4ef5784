"""What a ratings-matrix import can be told."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from transforms.sources.record_options import RecordOptions

Format = Literal["jester", "coat"]


@dataclass(frozen=True)
class Defaults:
    """Values of the options that depend on the format; see `RatingsMatrixOptions`."""

    threshold: float
    softness: float
    requests_per_user: int
    candidates: int
    exposed_items: int


DEFAULTS: dict[Format, Defaults] = {
    # Ratings of -10 to 10 with a mean near 1: 5 is a joke well liked; about 28 % of all ratings say yes.
    "jester": Defaults(threshold=5.0, softness=1.5, requests_per_user=10, candidates=50, exposed_items=5),
    # Ratings of 1 to 5, of which 4 and 5 count as positive.
    "coat": Defaults(threshold=3.5, softness=0.5, requests_per_user=4, candidates=12, exposed_items=3),
}
RANKED_PER_EXPOSED = 3


class RatingsMatrixOptions(RecordOptions):
    """Options of a ratings-matrix import. Those that are None take the format's value of `DEFAULTS`.

    Args:
      seed: of the candidates, the policy's noise and the answers.
      records: which record kinds to write.
      format: of the raw files, `jester` or `coat`.
      preference: how a rating becomes the probability of a yes. `sampled`: sigmoid((rating - threshold) /
        softness), so that a lukewarm rating is a yes now and then; `thresholded`: 1 if the rating is at
        least the threshold, else 0.
      threshold: rating (points) at which a yes begins, or is as likely as a no. jester 5, coat 3.5.
      softness: rating points for one logit, with `sampled`. jester 1.5, coat 0.5.
      label_noise: share of the answers that are the toss of a fair coin, in [0, 1).
      bias_strength: how strongly the exposure policy prefers items, in logits for one standard deviation;
        0: exposure is random.
      popularity_share: what the policy prefers: 0: what this user rates high (as people choose for
        themselves); 1: what all users rate high on average; between: the mixture.
      requests_per_user: an item is shown to a user once at most, so this times `exposed_items` must not
        be more than the items that a user has rated. jester 10, coat 4.
      candidates: M, items of a request, drawn at random from those rated and not yet shown. jester 50, coat 12.
      ranked_items: candidates that get as far as `stage` 2; None: three times `exposed_items`, at most M.
      exposed_items: items shown in a request. jester 5, coat 3.
      history_length: clicks of earlier requests kept, the most recent ones.
      frequency_threshold: users and items seen less often in the training split are out of vocabulary.
    """

    format: Format = "jester"
    preference: Literal["sampled", "thresholded"] = "sampled"
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    softness: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    label_noise: float = Field(default=0.0, ge=0, lt=1)
    bias_strength: float = Field(default=1.0, ge=0, le=100)
    popularity_share: float = Field(default=0.5, ge=0, le=1)
    requests_per_user: int | None = Field(default=None, ge=1)
    candidates: int | None = Field(default=None, ge=1)
    ranked_items: int | None = Field(default=None, ge=1)
    exposed_items: int | None = Field(default=None, ge=1)
    history_length: int = Field(default=50, ge=1)
    frequency_threshold: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check_funnel(self) -> "RatingsMatrixOptions":
        resolved = self.resolved()
        if not resolved.exposed_items <= resolved.ranked_items <= resolved.candidates:
            raise ValueError(
                f"exposed_items {resolved.exposed_items} <= ranked_items {resolved.ranked_items} <= "
                f"candidates {resolved.candidates}: a later stage sees at most what the earlier one passed"
            )
        return self

    def resolved(self) -> "Policy":
        """The options with the format's values filled in."""
        default = DEFAULTS[self.format]
        candidates = _filled(self.candidates, default.candidates)
        exposed_items = _filled(self.exposed_items, default.exposed_items)
        return Policy(
            threshold=default.threshold if self.threshold is None else self.threshold,
            softness=default.softness if self.softness is None else self.softness,
            requests_per_user=_filled(self.requests_per_user, default.requests_per_user),
            candidates=candidates,
            ranked_items=_filled(self.ranked_items, min(RANKED_PER_EXPOSED * exposed_items, candidates)),
            exposed_items=exposed_items,
        )


@dataclass(frozen=True)
class Policy:
    """Options without gaps; see `RatingsMatrixOptions`."""

    threshold: float
    softness: float
    requests_per_user: int
    candidates: int
    ranked_items: int
    exposed_items: int


def _filled(value: int | None, default: int) -> int:
    return default if value is None else value
