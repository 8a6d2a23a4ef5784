"""KuaiRand (Kuaishou): videos shown in a feed and what users did with them, with some shown at random."""

from typing import Literal

from pydantic import Field

from transforms.features import Column, Encoding, Feature, FeatureSet
from transforms.sources.base import Source
from transforms.sources.options import (
    RowOptions,
    columns,
    features,
    field_columns,
    history_column,
    numbered,
    vocabularies,
)
from transforms.sources.text_format import CATEGORY, COUNT, FLAG, KEY, TEXT, FieldKind, TextFormat

VERSIONS = ("pure", "1k", "27k")
FIRST_STANDARD, SECOND_STANDARD = "log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08"
RANDOM = "log_random_4_22_to_5_08"
USERS, VIDEOS, STATISTICS = "user_features", "video_features_basic", "video_features_statistic"
PARTS = {FIRST_STANDARD: 2, SECOND_STANDARD: 2, STATISTICS: 3}
"""Files that 27K has in parts `_part1.csv` and so on."""

LABELS = ("is_click", "long_view", "is_like")
LOG = TextFormat(
    {"user_id": KEY, "video_id": KEY, "time_ms": KEY, "play_time_ms": KEY, "is_rand": FLAG, "tab": KEY}
    | dict.fromkeys(LABELS, FLAG)
)

_RANGES = ("follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range")
_FLAGS = ("is_lowactive_period", "is_live_streamer", "is_video_author")
_USER_IDS: dict[str, FieldKind] = {
    "user_active_degree": TEXT,
    **dict.fromkeys(_FLAGS, CATEGORY),
    **dict.fromkeys(_RANGES, TEXT),
    **{f"onehot_feat{number}": CATEGORY for number in range(18)},
}
USER_NUMBERS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
USER_IDS = tuple(_USER_IDS)
USER_TABLE = TextFormat({"user_id": KEY, **_USER_IDS, **dict.fromkeys(USER_NUMBERS, COUNT)}, quoted=True)

_VIDEO_IDS: dict[str, FieldKind] = {
    "author_id": CATEGORY, "video_type": TEXT, "upload_type": TEXT, "music_id": CATEGORY, "music_type": CATEGORY
}  # fmt: skip
VIDEO_IDS = tuple(_VIDEO_IDS)
VIDEO_NUMBERS = ("video_duration", "server_width", "server_height")
VIDEO_TABLE = TextFormat(
    {"video_id": KEY, **_VIDEO_IDS, **dict.fromkeys(VIDEO_NUMBERS, COUNT), "upload_dt": TEXT, "tag": TEXT}, quoted=True
)
TAGS = numbered("tag", 2)

STATISTIC_NUMBERS = (
    "counts", "show_cnt", "show_user_num", "play_cnt", "play_user_num", "play_duration", "complete_play_cnt",
    "complete_play_user_num", "valid_play_cnt", "valid_play_user_num", "long_time_play_cnt",
    "long_time_play_user_num", "short_time_play_cnt", "short_time_play_user_num", "play_progress",
    "comment_stay_duration", "like_cnt", "like_user_num", "click_like_cnt", "double_click_cnt", "cancel_like_cnt",
    "cancel_like_user_num", "comment_cnt", "comment_user_num", "direct_comment_cnt", "reply_comment_cnt",
    "delete_comment_cnt", "delete_comment_user_num", "comment_like_cnt", "comment_like_user_num", "follow_cnt",
    "follow_user_num", "cancel_follow_cnt", "cancel_follow_user_num", "share_cnt", "share_user_num", "download_cnt",
    "download_user_num", "report_cnt", "report_user_num", "reduce_similar_cnt", "reduce_similar_user_num",
    "collect_cnt", "collect_user_num", "cancel_collect_cnt", "cancel_collect_user_num", "direct_comment_user_num",
    "reply_comment_user_num", "share_all_cnt", "share_all_user_num", "outsite_share_all_cnt",
)  # fmt: skip
STATISTIC_TABLE = TextFormat({"video_id": KEY, **dict.fromkeys(STATISTIC_NUMBERS, COUNT)})
STATISTIC_PREFIX = "video_"
"""Before the names of these columns in records: users have a `follow_user_num`, too."""

DAY_MS = 86_400_000
UTC_OFFSET_MS = 8 * 3_600_000
FIRST_DAY, EVAL_DAY, LAST_DAY = "2022-04-08", "2022-05-07", "2022-05-08"
"""Days of China; the last one is `test`."""


class KuairandOptions(RowOptions):
    """Options of a KuaiRand import.

    Args:
      history_length: clicked videos kept, the most recent ones; at most 50.
      frequency_threshold: users, videos, authors and music seen less often in the training split are out
        of vocabulary.
      version: of the files; `found`: the one whose files are there.
      label: which feedback is the label.
      logs: `standard`: what the recommenders showed; `random`: videos put in at random, all of it `test`, for
        a model that was trained on the standard logs.
      splits: `full`: to 6 May 2022 `train`, 7 May `eval`, 8 May `test` (days of China); `files`: the last
        day that there is `test`, the day before it `eval`.
      statistics: also the videos' counters of `video_features_statistic`. They are means over the whole
        month: each tells of the future, so figures of such a model mean nothing for a live one.
      hash_buckets: no vocabulary for videos and authors: ids are hashed into this number of buckets. None counts them.
    """

    frequency_threshold: int = Field(default=5, ge=1)
    version: Literal["found", "pure", "1k", "27k"] = "found"
    label: Literal["is_click", "long_view", "is_like"] = "is_click"
    logs: Literal["standard", "random"] = "standard"
    splits: Literal["full", "files"] = "full"
    statistics: bool = False
    hash_buckets: int | None = Field(default=None, ge=2)


_LARGE_VOCABULARIES = ("item_id", "author_id")


class Kuairand(Source[KuairandOptions]):
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

    name = "kuairand"
    summary = "KuaiRand: videos shown in a feed, with users' histories; versions Pure, 1K, 27K; rows"
    licence = "CC BY-SA 4.0; cite Gao et al. 2022"
    where = "https://kuairand.com, https://zenodo.org/records/10439422 (the csv files of one version)"

    def feature_set(self) -> FeatureSet:
        options = self.options
        statistics = STATISTIC_NUMBERS if options.statistics else ()
        return FeatureSet(
            columns=_columns(options.history_length, statistics),
            features=_features(statistics),
            vocabularies=(
                *vocabularies(_LARGE_VOCABULARIES, options.frequency_threshold, options.hash_buckets),
                *vocabularies(("user_id", "music_id"), options.frequency_threshold),
            ),
            requires_item_id=True,
        )


def _columns(history_length: int, statistics: tuple[str, ...]) -> tuple[Column, ...]:
    return (
        Column(name="local_time", dtype="int64", entity="context"),
        Column(name="tab", dtype="int64", entity="context"),
        Column(name="is_rand", dtype="int64", entity="context", min_value=0, max_value=1, model_input=False),
        *field_columns(USER_TABLE, (*USER_IDS, *USER_NUMBERS), "user"),
        history_column("history_item_id", "string", history_length),
        history_column("history_author_id", "int64", history_length),
        *field_columns(VIDEO_TABLE, (*VIDEO_IDS, *VIDEO_NUMBERS), "item"),
        *columns(TAGS, "string", "item"),
        Column(name="video_age_days", dtype="float", entity="item", min_value=0),
        *field_columns(STATISTIC_TABLE, statistics, "item", prefix=STATISTIC_PREFIX),
    )


def _features(statistics: tuple[str, ...]) -> tuple[Feature, ...]:
    return (
        Feature(name="hour", encoding=Encoding.HOUR_OF_DAY, column="local_time"),
        Feature(name="weekday", encoding=Encoding.DAY_OF_WEEK, column="local_time"),
        Feature(name="tab", encoding=Encoding.ID),
        *features(("user_id", *USER_IDS)),
        *features(USER_NUMBERS, Encoding.LOG_ZSCORE),
        *(Feature(name=f"history_{name}", encoding=Encoding.ID, vocabulary=name) for name in _LARGE_VOCABULARIES),
        *features(("item_id", *VIDEO_IDS)),
        *features(TAGS, vocabulary="tag"),
        *features((*VIDEO_NUMBERS, "video_age_days"), Encoding.QUANTILE),
        *features((f"{STATISTIC_PREFIX}{name}" for name in statistics), Encoding.LOG_ZSCORE),
    )
