"""KuaiRand (Kuaishou): videos shown in a feed and what users did with them, with some shown at random."""

import os
from typing import TYPE_CHECKING, Any, ClassVar

from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Vocabulary
from transforms.sources.base import Source, SourceOptions
from transforms.sources.kuairand_options import (
    STATISTIC_NUMBERS,
    STATISTIC_PREFIX,
    TAGS,
    USER_IDS,
    USER_NUMBERS,
    USER_TABLE,
    VIDEO_IDS,
    VIDEO_NUMBERS,
    VIDEO_TABLE,
    KuairandOptions,
)
from transforms.sources.row_options import field_columns, history_column

if TYPE_CHECKING:
    import apache_beam as beam

_LARGE_VOCABULARIES = ("item_id", "author_id")


class Kuairand(Source):
    """Rows, one a video shown, of KuaiRand Pure, 1K and 27K: the logs, `user_features` and `video_features_basic`.

    A history holds the videos clicked before, with their authors. A click counts from the end of its play
    (`time_ms + play_time_ms`), and only when that is strictly before the row's own time. In tabs of one
    column a click is a play of 7 seconds or of the whole video.

    Left out on purpose: everything else that is measured after the event (`play_time_ms`, `comment_stay_time`,
    `profile_stay_time`, the other feedback), `video_features_statistic` (means over the month, which
    leak the future; option `statistics`), `visible_status` (as it was when the data were gathered). Missing are
    empty fields, `UNKNOWN` and -124. Days and hours are those of China, from `time_ms`: the logs' `date` and
    `hourmin` are ahead of it now and then, by up to an hour and a half. The user table does not say of which day
    its counts are.
    """

    name: ClassVar[str] = "kuairand"
    summary: ClassVar[str] = "KuaiRand: videos shown in a feed, with users' histories; versions Pure, 1K, 27K; rows"
    licence: ClassVar[str] = "CC BY-SA 4.0; cite Gao et al. 2022"
    where: ClassVar[str] = "https://kuairand.com, https://zenodo.org/records/10439422 (the csv files of one version)"
    records: ClassVar[tuple[RecordKind, ...]] = ("row",)
    Options: ClassVar[type[SourceOptions]] = KuairandOptions
    options: KuairandOptions

    def feature_set(self) -> FeatureSet:
        options = self.options
        large = (
            Vocabulary(name=name, frequency_threshold=options.frequency_threshold, hash_buckets=options.hash_buckets)
            for name in _LARGE_VOCABULARIES
        )
        users = (
            Vocabulary(name=name, frequency_threshold=options.frequency_threshold) for name in ("user_id", "music_id")
        )
        return FeatureSet(
            columns=_columns(options),
            features=_features() + (_statistic_features() if options.statistics else ()),
            vocabularies=(*large, *users),
            requires_item_id=True,
        )

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        from transforms.sources.kuairand_files import check_files

        check_files(input_dir, self.options)

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.kuairand_reader import KuairandReader
        from transforms.sources.user_rows import ReadUserRows

        return ReadUserRows(input_dir, KuairandReader(self.options))

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        from transforms.sources.kuairand_files import find_files

        files = find_files(input_dir, self.options)
        return {**super().origin(input_dir), "version": files.version, "files": [path.name for path in files.all]}


def _columns(options: KuairandOptions) -> tuple[Column, ...]:
    users = [(name, USER_TABLE.fields[name]) for name in (*USER_IDS, *USER_NUMBERS)]
    videos = [(name, VIDEO_TABLE.fields[name]) for name in (*VIDEO_IDS, *VIDEO_NUMBERS)]
    statistics = STATISTIC_NUMBERS if options.statistics else ()
    return (
        Column(name="local_time", dtype="int64", entity="context"),
        Column(name="tab", dtype="int64", entity="context"),
        Column(name="is_rand", dtype="int64", entity="context", min_value=0, max_value=1, model_input=False),
        *field_columns(users, "user"),
        history_column("history_item_id", "string", options.history_length),
        history_column("history_author_id", "int64", options.history_length),
        *field_columns(videos, "item"),
        *(Column(name=name, dtype="string", entity="item") for name in TAGS),
        Column(name="video_age_days", dtype="float", entity="item", min_value=0),
        *(Column(name=f"{STATISTIC_PREFIX}{name}", dtype="float", entity="item") for name in statistics),
    )


def _features() -> tuple[Feature, ...]:
    return (
        Feature(name="hour", encoding=Encoding.HOUR_OF_DAY, column="local_time"),
        Feature(name="weekday", encoding=Encoding.DAY_OF_WEEK, column="local_time"),
        Feature(name="tab", encoding=Encoding.ID),
        *(Feature(name=name, encoding=Encoding.ID) for name in ("user_id", *USER_IDS)),
        *(Feature(name=name, encoding=Encoding.LOG_ZSCORE) for name in USER_NUMBERS),
        *(Feature(name=f"history_{name}", encoding=Encoding.ID, vocabulary=name) for name in _LARGE_VOCABULARIES),
        *(Feature(name=name, encoding=Encoding.ID) for name in ("item_id", *VIDEO_IDS)),
        *(Feature(name=name, encoding=Encoding.ID, vocabulary="tag") for name in TAGS),
        *(Feature(name=name, encoding=Encoding.QUANTILE) for name in (*VIDEO_NUMBERS, "video_age_days")),
    )


def _statistic_features() -> tuple[Feature, ...]:
    names = (f"{STATISTIC_PREFIX}{name}" for name in STATISTIC_NUMBERS)
    return tuple(Feature(name=name, encoding=Encoding.LOG_ZSCORE) for name in names)
