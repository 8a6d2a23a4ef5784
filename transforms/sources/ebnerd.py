"""EB-NeRD (Ekstra Bladet news): lists of articles shown, clicks on them, and what users read before."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from transforms.errors import InputError
from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Vocabulary
from transforms.sources.base import Source, SourceOptions
from transforms.sources.ebnerd_options import WINDOWS_HOURS, EbnerdOptions

if TYPE_CHECKING:
    import apache_beam as beam

BEHAVIORS, HISTORY = "behaviors.parquet", "history.parquet"
_ITEM_VOCABULARY = "article"
_COUNT_FEATURES = ("shown", "clicks", "ctr")


class Ebnerd(Source):
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

    name: ClassVar[str] = "ebnerd"
    summary: ClassVar[str] = "Ekstra Bladet news: lists shown and clicks, with users' histories; rows and requests"
    licence: ClassVar[str] = "Ekstra Bladet terms: research only, never redistribute"
    where: ClassVar[str] = "https://recsys.eb.dk (behaviors.parquet and history.parquet of one split)"
    records: ClassVar[tuple[RecordKind, ...]] = ("row", "request")
    Options: ClassVar[type[SourceOptions]] = EbnerdOptions
    options: EbnerdOptions

    def feature_set(self) -> FeatureSet:
        ids = _id_features() if self.options.id_features else ()
        threshold = self.options.frequency_threshold
        return FeatureSet(
            columns=_columns(self.options.history_length),
            features=(*_features(), *ids),
            vocabularies=tuple(
                Vocabulary(name=name, frequency_threshold=threshold) for name in (_ITEM_VOCABULARY, "user_id") if ids
            ),
            list_size=self.options.list_size,
            requires_item_id=True,
        )

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        from transforms.sources.ebnerd_files import check_behaviors, check_history, split_times

        check_behaviors(_input_file(input_dir, BEHAVIORS))
        check_history(_input_file(input_dir, HISTORY))
        split_times(_input_file(input_dir, BEHAVIORS), self.options)

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.ebnerd_reader import ReadEbnerd

        return ReadEbnerd(_input_file(input_dir, BEHAVIORS), _input_file(input_dir, HISTORY), self.options)

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        return {**super().origin(input_dir), "files": [BEHAVIORS, HISTORY]}


def _input_file(input_dir: str | os.PathLike[str], name: str) -> Path:
    path = Path(input_dir) / name
    if not path.is_file():
        raise InputError(str(path), "no such file", f"{BEHAVIORS} and {HISTORY} in one directory", "correct --input")
    return path


def _columns(history_length: int) -> tuple[Column, ...]:
    counts = tuple(
        Column(name=f"{name}_{hours}h", dtype="int64", entity="item", min_value=0)
        for name in ("shown", "clicks")
        for hours in WINDOWS_HOURS
    )
    shares = (*(f"ctr_{hours}h" for hours in WINDOWS_HOURS), "pool_rank_clicks", "pool_rank_ctr", "pool_rank_age")
    return (
        Column(name="device_type", dtype="int64", entity="context"),
        Column(name="on_article_page", dtype="int64", entity="context", min_value=0, max_value=1),
        Column(name="is_subscriber", dtype="int64", entity="user", min_value=0, max_value=1),
        Column(name="is_sso_user", dtype="int64", entity="user", min_value=0, max_value=1),
        Column(name="history", dtype="string", entity="user", variable_length=True, max_length=history_length),
        Column(name="history_size", dtype="int64", entity="user", min_value=0),
        Column(name="article_age_hours", dtype="float", entity="item", min_value=0),
        *counts,
        *(Column(name=name, dtype="float", entity="item", min_value=0, max_value=1) for name in shares),
        Column(name="times_shown_to_user", dtype="int64", entity="item", min_value=0),
        Column(name="times_read_by_user", dtype="int64", entity="item", min_value=0),
        Column(name="hours_since_shown_to_user", dtype="float", entity="item", min_value=0),
    )


def _features() -> tuple[Feature, ...]:
    windows = [f"{name}_{hours}h" for name in _COUNT_FEATURES for hours in WINDOWS_HOURS]
    ranks = ("pool_rank_clicks", "pool_rank_ctr", "pool_rank_age")
    return (
        Feature(name="device_type", encoding=Encoding.ID),
        Feature(name="on_article_page", encoding=Encoding.ID),
        Feature(name="hour_of_day", encoding=Encoding.HOUR_OF_DAY, column="timestamp"),
        Feature(name="history_size", encoding=Encoding.LOG_ZSCORE),
        Feature(name="article_age_hours", encoding=Encoding.QUANTILE),
        *(Feature(name=name, encoding=Encoding.LOG_ZSCORE) for name in windows),
        *(Feature(name=name, encoding=Encoding.ZSCORE) for name in ranks),
        Feature(name="times_shown_to_user", encoding=Encoding.LOG_ZSCORE),
        Feature(name="times_read_by_user", encoding=Encoding.LOG_ZSCORE),
        Feature(name="hours_since_shown_to_user", encoding=Encoding.QUANTILE),
    )


def _id_features() -> tuple[Feature, ...]:
    return (
        Feature(name="user_id", encoding=Encoding.ID),
        Feature(name="item_id", encoding=Encoding.ID, vocabulary=_ITEM_VOCABULARY),
        Feature(name="history", encoding=Encoding.ID, vocabulary=_ITEM_VOCABULARY),
    )
