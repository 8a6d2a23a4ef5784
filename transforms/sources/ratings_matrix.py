"""Requests on real preferences: a ratings matrix, and an exposure policy whose bias is known."""

import os
from typing import TYPE_CHECKING, Any, ClassVar

from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Vocabulary
from transforms.portable_random import SIMULATOR_VERSION
from transforms.sources.base import Source, SourceOptions
from transforms.sources.ratings_matrix_options import RatingsMatrixOptions

if TYPE_CHECKING:
    import apache_beam as beam

COAT_USER_FIELDS = ("gender", "age", "location", "fashioninterest")
COAT_ITEM_FIELDS = ("gender", "jackettype", "color", "onfrontpage")
HISTORY = "history_item_id"
PROPENSITY = "self_selection_propensity"


class RatingsMatrixSource(Source):
    """Simulated requests whose candidates, shown or not, all have a real rating behind them.

    Semi-synthetic: the ratings are real; the requests, their times, the exposure and the moment of a
    click are not. Every candidate of a request is an item that the user has rated, so the probability of
    a yes is known for all of them: `true_click_probability`, from the rating as the options say. Each
    answer is drawn once for a user and an item. The policy shows the candidates with the largest

        logging_score = bias_strength ((1 - s) relevance + s popularity) + Gumbel noise

    s the `popularity_share`; relevance is the user's own rating and popularity the item's mean rating,
    each standardised (within the user, over the items). So exposure is a Plackett-Luce draw without
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
    those of the whole catalogue. `self_selection_propensity`, the authors' estimate that a user rates a
    coat, stands in the records (never a model input) for whoever wants to weight back.
    """

    name: ClassVar[str] = "ratings_matrix"
    summary: ClassVar[str] = "real ratings (Jester, Coat) under an exposure policy of known bias; requests and rows"
    licence: ClassVar[str] = "Jester: research, cite Goldberg et al. 2001; Coat: research, cite Schnabel et al. 2016"
    where: ClassVar[str] = "https://eigentaste.berkeley.edu/dataset, https://www.cs.cornell.edu/~schnabts/mnar"
    records: ClassVar[tuple[RecordKind, ...]] = ("row", "request")
    Options: ClassVar[type[SourceOptions]] = RatingsMatrixOptions
    options: RatingsMatrixOptions

    def feature_set(self) -> FeatureSet:
        fields = coat_fields() if self.options.format == "coat" else ()
        threshold = self.options.frequency_threshold
        policy = self.options.resolved()
        columns = (
            *(Column(name=name, dtype="string", entity=entity) for name, entity in fields),
            *_columns(self.options.history_length, policy.exposed_items),
        )
        if fields:
            columns += (
                Column(name=PROPENSITY, dtype="float", entity="item", min_value=0.0, max_value=1.0, model_input=False),
            )
        return FeatureSet(
            columns=columns,
            features=(*_features(), *(Feature(name=name, encoding=Encoding.ID) for name, _ in fields)),
            vocabularies=tuple(Vocabulary(name=name, frequency_threshold=threshold) for name in ("user_id", "item_id")),
            list_size=policy.candidates,
            requires_item_id=True,
        )

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        from transforms.sources.ratings_matrix_files import read_ratings
        from transforms.sources.ratings_matrix_requests import check_enough

        check_enough(read_ratings(input_dir, self.options.format), self.options.resolved(), str(input_dir))

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.ratings_matrix_reader import ReadRatingsMatrix

        return ReadRatingsMatrix(input_dir, self.options)

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        from dataclasses import asdict

        origin = {**super().origin(input_dir), "policy": asdict(self.options.resolved()), "semi_synthetic": True}
        return origin | {"simulator_version": SIMULATOR_VERSION}


def coat_fields() -> tuple[tuple[str, Any], ...]:
    """Columns of Coat's users and coats, with whose they are."""
    users = tuple((f"user_{name}", "user") for name in COAT_USER_FIELDS)
    return users + tuple((f"item_{name}", "item") for name in COAT_ITEM_FIELDS)


def _columns(history_length: int, exposed_items: int) -> tuple[Column, ...]:
    return (
        Column(name=HISTORY, dtype="string", entity="user", variable_length=True, max_length=history_length),
        # Padding holds -1, the marker of a missing number.
        Column(name="item_impressions_so_far", dtype="int64", entity="item", min_value=-1),
        Column(name="item_clicks_so_far", dtype="int64", entity="item", min_value=-1),
        Column(name="stage", dtype="int64", entity="item", min_value=0, max_value=3, model_input=False),
        Column(name="position", dtype="int64", entity="item", min_value=0, max_value=exposed_items, model_input=False),
        Column(name="logging_score", dtype="float", entity="item", model_input=False),
        Column(
            name="true_click_probability",
            dtype="float",
            entity="item",
            min_value=0.0,
            max_value=1.0,
            model_input=False,
        ),
    )


def _features() -> tuple[Feature, ...]:
    return (
        Feature(name="user_id", encoding=Encoding.ID),
        Feature(name=HISTORY, encoding=Encoding.ID, vocabulary="item_id"),
        Feature(name="item_id", encoding=Encoding.ID),
        Feature(name="item_impressions_so_far", encoding=Encoding.LOG_ZSCORE),
        Feature(name="item_clicks_so_far", encoding=Encoding.LOG_ZSCORE),
    )
