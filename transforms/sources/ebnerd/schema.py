"""EB-NeRD (Ekstra Bladet news): lists of articles shown, clicks on them, and what users read before."""

from typing import Literal

from pydantic import Field, field_validator

from transforms.features import Column, Encoding, Feature, FeatureSet
from transforms.sources.base import Source
from transforms.sources.options import RecordOptions, columns, features, history_column, vocabularies

WINDOWS_HOURS = (1, 6, 24)
"""How far counters look back; never to the start of the data, whose distance would be a feature."""


class EbnerdOptions(RecordOptions):
    """Options of an EB-NeRD import.

    Args:
      seed: of `request_share`.
      records: which record kinds to write; request records are about 40 kB each.
      request_share: share of the lists that become request records, chosen by id.
      list_size: M, candidates in a request.
      pool_hours: hours within which an article shown to anybody is a candidate.
      bucket_minutes: width of a time bucket; counters and pool know events of earlier buckets; divides 60.
      history_length: articles of a user's history kept, the most recent ones.
      splits: `time`: the last `test_hours` are `test`, the `eval_hours` before them `eval`, the rest
        `train`; `all_test`: everything is `test`, for data that a finished model is to be measured on.
      test_hours, eval_hours: see `splits`.
      ctr_prior: click rate of an article that was never shown.
      ctr_prior_weight: impressions that the prior counts for.
      id_features: also offer ids of users, articles and histories. Four in five articles are new after
        a week, so ids do not carry over.
      frequency_threshold: with `id_features`: an id seen less often is out of vocabulary.
    """

    request_share: float = Field(default=1.0, gt=0.0, le=1.0)
    list_size: int = Field(default=512, ge=1)
    pool_hours: int = Field(default=6, ge=1)
    bucket_minutes: int = Field(default=10, ge=1, le=60)
    history_length: int = Field(default=50, ge=1)
    splits: Literal["time", "all_test"] = "time"
    test_hours: float = Field(default=24.0, gt=0)
    eval_hours: float = Field(default=24.0, gt=0)
    ctr_prior: float = Field(default=0.1, gt=0.0, lt=1.0)
    ctr_prior_weight: float = Field(default=20.0, gt=0)
    id_features: bool = False
    frequency_threshold: int = Field(default=20, ge=1)

    @field_validator("bucket_minutes")
    @classmethod
    def _whole_buckets(cls, minutes: int) -> int:
        if 60 % minutes:
            raise ValueError("a number of minutes that divides 60, e.g. 10")
        return minutes

    @property
    def bucket_seconds(self) -> int:
        """Length of a bucket."""
        return self.bucket_minutes * 60

    def buckets(self, hours: int) -> int:
        """Number of buckets in some hours."""
        return hours * 60 // self.bucket_minutes


BEHAVIORS, HISTORY = "behaviors.parquet", "history.parquet"
_ITEM_VOCABULARY = "article"
_COUNT_FEATURES = ("shown", "clicks", "ctr")
_POOL_RANKS = ("pool_rank_clicks", "pool_rank_ctr", "pool_rank_age")


class Ebnerd(Source[EbnerdOptions]):
    """Rows (one for each article shown) and requests (one for each list) of EB-NeRD.

    Everything that a record says was known before the list was shown: counters and the pool of
    candidates know the events of earlier buckets of time, the user's own history and impressions are
    exact to the second. A click happens when its page view ends (`impression_time + read_time`).
    Times are taken as UTC.

    Candidates of a request: the articles shown in the list, and those shown to anybody in the last
    `pool_hours`, the most recently shown first, up to `list_size`; in the record they stand in order of
    id. A candidate that was not shown has no label, and it was left out by an editor, a page and a
    recommender together, not by a ranking stage.

    Left out on purpose: `next_read_time` and `next_scroll_percentage` (measured after the click),
    `read_time` and `scroll_percentage` (measured while the list stood), the order of a list (carries no
    information) and its length (known only after the user has scrolled).
    """

    name = "ebnerd"
    summary = "Ekstra Bladet news: lists shown and clicks, with users' histories; rows and requests"
    licence = "Ekstra Bladet terms: research only, never redistribute"
    where = "https://recsys.eb.dk (behaviors.parquet and history.parquet of one split)"
    records = ("row", "request")

    def feature_set(self) -> FeatureSet:
        ids = _id_features() if self.options.id_features else ()
        return FeatureSet(
            columns=_columns(self.options.history_length),
            features=(*_features(), *ids),
            vocabularies=vocabularies((_ITEM_VOCABULARY, "user_id"), self.options.frequency_threshold) if ids else (),
            list_size=self.options.list_size,
            requires_item_id=True,
        )


def _columns(history_length: int) -> tuple[Column, ...]:
    counts = [f"{name}_{hours}h" for name in ("shown", "clicks") for hours in WINDOWS_HOURS]
    shares = [f"ctr_{hours}h" for hours in WINDOWS_HOURS]
    return (
        Column(name="device_type", dtype="int64", entity="context"),
        Column(name="on_article_page", dtype="int64", entity="context", min_value=0, max_value=1),
        *columns(("is_subscriber", "is_sso_user"), "int64", "user", min_value=0, max_value=1),
        history_column("history", "string", history_length),
        Column(name="history_size", dtype="int64", entity="user", min_value=0),
        Column(name="article_age_hours", dtype="float", entity="item", min_value=0),
        *columns(counts, "int64", "item", min_value=0),
        *columns((*shares, *_POOL_RANKS), "float", "item", min_value=0, max_value=1),
        Column(name="times_shown_to_user", dtype="int64", entity="item", min_value=0),
        Column(name="times_read_by_user", dtype="int64", entity="item", min_value=0),
        Column(name="hours_since_shown_to_user", dtype="float", entity="item", min_value=0),
    )


def _features() -> tuple[Feature, ...]:
    windows = [f"{name}_{hours}h" for name in _COUNT_FEATURES for hours in WINDOWS_HOURS]
    return (
        *features(("device_type", "on_article_page")),
        Feature(name="hour_of_day", encoding=Encoding.HOUR_OF_DAY, column="timestamp"),
        Feature(name="history_size", encoding=Encoding.LOG_ZSCORE),
        Feature(name="article_age_hours", encoding=Encoding.QUANTILE),
        *features(windows, Encoding.LOG_ZSCORE),
        *features(_POOL_RANKS, Encoding.ZSCORE),
        *features(("times_shown_to_user", "times_read_by_user"), Encoding.LOG_ZSCORE),
        Feature(name="hours_since_shown_to_user", encoding=Encoding.QUANTILE),
    )


def _id_features() -> tuple[Feature, ...]:
    return (
        Feature(name="user_id", encoding=Encoding.ID),
        Feature(name="item_id", encoding=Encoding.ID, vocabulary=_ITEM_VOCABULARY),
        Feature(name="history", encoding=Encoding.ID, vocabulary=_ITEM_VOCABULARY),
    )
