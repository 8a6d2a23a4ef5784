"""Requests on real preferences: a ratings matrix, and an exposure policy whose bias is known."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from transforms.features import Column, Encoding, Feature, FeatureSet
from transforms.sources.base import Source
from transforms.sources.options import RecordOptions, columns, features, history_column, simulated_columns, vocabularies

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
    # Ratings of 1 to 5; 4 and 5 count as positive.
    "coat": Defaults(threshold=3.5, softness=0.5, requests_per_user=4, candidates=12, exposed_items=3),
}
RANKED_PER_EXPOSED = 3
COLLECTED_CANDIDATES = 300
"""M of a request about ratings as they were collected: Coat has 300 coats."""
_OF_BOTH = {"seed", "records", "format", "exposure", "preference", "threshold", "softness", "candidates"}
_OF_BOTH |= {"frequency_threshold"}


class RatingsMatrixOptions(RecordOptions):
    """Options of a ratings-matrix import. Those that are None take the format's value of `DEFAULTS`.

    Args:
      seed: of the candidates, the policy's noise and the answers.
      records: which record kinds to write.
      format: of the raw files, `jester` or `coat`.
      exposure: `simulated`: a policy shows items, as the other options say; `real`, of coat: the ratings as they were
        collected. Models train on the coats that users chose themselves, and `test` holds those that were drawn for
        them at random (`test.ascii`).
      preference: how a rating becomes the probability of a yes. `sampled`: sigmoid((rating - threshold) /
        softness), so that a lukewarm rating is a yes now and then; `thresholded`: 1 if the rating is at
        least the threshold, else 0. With real exposure this probability is the label of `train`; labels of `eval`
        and `test` are 1 if the rating is at least the threshold.
      threshold: rating (points) at which a yes begins, or is as likely as a no. jester 5, coat 3.5.
      softness: rating points for one logit, with `sampled`. jester 1.5, coat 0.5.
      label_noise: share of the answers that are the toss of a fair coin, in [0, 1).
      bias_strength: how strongly the exposure policy prefers items, in logits for one standard deviation;
        0: exposure is random.
      popularity_share: what the policy prefers: 0: what this user rates high (as people choose for
        themselves); 1: what all users rate high on average; between: the mixture.
      requests_per_user: an item is shown to a user once at most, so this times `exposed_items` must not
        be more than the items that a user has rated. jester 10, coat 4.
      candidates: M, items of a request, drawn at random from those rated and not yet shown. jester 50, coat 12. With
        real exposure, what a user rated and further coats at random, 300.
      ranked_items: candidates that get as far as `stage` 2; None: three times `exposed_items`, at most M.
      exposed_items: items shown in a request. jester 5, coat 3.
      history_length: clicks of earlier requests kept, the most recent ones.
      frequency_threshold: users and items seen less often in the training split are out of vocabulary.
    """

    format: Format = "jester"
    exposure: Literal["simulated", "real"] = "simulated"
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

    @model_validator(mode="after")
    def _check_exposure(self) -> "RatingsMatrixOptions":
        if self.exposure == "simulated":
            return self
        if self.format != "coat":
            raise ValueError(
                f"exposure 'real' with format {self.format!r}: only 'coat' has ratings of items drawn at random"
            )
        unread = sorted(self.model_fields_set - _OF_BOTH)
        if unread:
            raise ValueError(f"exposure 'real' with {', '.join(unread)}, of the simulated policy; leave them out")
        return self

    def resolved(self) -> "Policy":
        """The options with the format's values filled in."""
        default = DEFAULTS[self.format]
        usual = default.candidates if self.exposure == "simulated" else COLLECTED_CANDIDATES
        candidates = _filled(self.candidates, usual)
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


COAT_USER_FIELDS = ("gender", "age", "location", "fashioninterest")
COAT_ITEM_FIELDS = ("gender", "jackettype", "color", "onfrontpage")
HISTORY = "history_item_id"
PROPENSITY = "self_selection_propensity"
_COUNTERS = ("item_impressions_so_far", "item_clicks_so_far")


class RatingsMatrixSource(Source[RatingsMatrixOptions]):
    """Simulated requests whose candidates, shown or not, all have a real rating behind them.

    Semi-synthetic: the ratings are real; the requests, their times, the exposure and the moment of a
    click are not. Every candidate of a request is an item that the user has rated, so the probability of
    a yes is known for all of them: `true_click_probability`, from the rating as the options say. Each
    answer is drawn once for a user and an item. The policy shows the candidates with the largest

        logging_score = bias_strength ((1 - s) relevance + s popularity) + Gumbel noise

    s the `popularity_share`; relevance is the user's own rating and popularity the item's mean rating,
    each standardized (within the user, over the items). So exposure is a Plackett-Luce draw without
    replacement with known weights, and uniformly random at `bias_strength` 0. An item that was shown
    is not a candidate again: a test request asks about items that this user was never shown. `stage`
    (1 candidate, 2 ranked, 3 shown), `position`, `logging_score` and `true_click_probability` are as the
    simulator has them, and never model inputs. A click does not depend on the position or on the other
    items. Splits are by time, 80 / 10 / 10; counters and histories hold earlier requests' clicks only.

    `jester`: `ratings.csv.gz` (or `ratings.csv`), a line `user,joke,rating,user_complete` for each rating
    of -10 to 10; `user_complete` is 1 for users who rated all jokes. Only these
    take part, so that no cell is missing: nothing is claimed about users who rate less.

    `coat`: `train.ascii`, `propensities.ascii` and `user_item_features/`. Each user rated 24 coats of
    their own choice, and only these can be candidates: exposure is biased by the policy *within* the
    self-selected coats. What a model does on the 276 others is not measured, and click rates are above
    those of the whole catalogue. With `exposure=real` nothing is simulated: `train` and `eval` are the ratings
    of these coats, `test` those of 16 coats drawn at random for each user (`test.ascii`), so that it tells how
    well a model that learned from biased exposure knows the others. `self_selection_propensity`, the authors'
    estimate that a user rates a coat, stands in the records (never a model input) for whoever wants to weight
    back.
    """

    name = "ratings_matrix"
    summary = "real ratings (Jester, Coat) under an exposure policy of known bias; requests and rows"
    licence = "Jester: research, cite Goldberg et al. 2001; Coat: research, cite Schnabel et al. 2016"
    where = "https://eigentaste.berkeley.edu/dataset, https://www.cs.cornell.edu/~schnabts/mnar"
    records = ("row", "request")

    def feature_set(self) -> FeatureSet:
        fields = coat_fields() if self.options.format == "coat" else ()
        policy = self.options.resolved()
        is_simulated = self.options.exposure == "simulated"
        columns = (
            *(Column(name=name, dtype="string", entity=entity) for name, entity in fields),
            *(_columns(self.options.history_length, policy.exposed_items) if is_simulated else ()),
        )
        if fields:
            columns += (
                Column(name=PROPENSITY, dtype="float", entity="item", min_value=0.0, max_value=1.0, model_input=False),
            )
        return FeatureSet(
            columns=columns,
            features=(*_features(is_simulated), *features(name for name, _ in fields)),
            vocabularies=vocabularies(("user_id", "item_id"), self.options.frequency_threshold),
            list_size=policy.candidates,
            requires_item_id=True,
        )


def coat_fields() -> tuple[tuple[str, Any], ...]:
    """Columns of Coat's users and coats, with whose they are."""
    users = tuple((f"user_{name}", "user") for name in COAT_USER_FIELDS)
    return users + tuple((f"item_{name}", "item") for name in COAT_ITEM_FIELDS)


def _columns(history_length: int, exposed_items: int) -> tuple[Column, ...]:
    return (
        history_column(HISTORY, "string", history_length),
        # Padding holds -1, the marker of a missing number.
        *columns(_COUNTERS, "int64", "item", min_value=-1),
        *simulated_columns(exposed_items),
    )


def _features(is_simulated: bool) -> tuple[Feature, ...]:
    past = (Feature(name=HISTORY, encoding=Encoding.ID, vocabulary="item_id"),)
    counters = features(_COUNTERS, Encoding.LOG_ZSCORE)
    return (
        Feature(name="user_id", encoding=Encoding.ID),
        *(past if is_simulated else ()),
        Feature(name="item_id", encoding=Encoding.ID),
        *(counters if is_simulated else ()),
    )
