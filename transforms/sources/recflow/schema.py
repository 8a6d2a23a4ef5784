"""RecFlow (Kuaishou): requests with the items that each stage of a real cascade kept and left out."""

from typing import Literal

from pydantic import Field

from transforms.features import Column, Encoding, Feature, FeatureSet
from transforms.sources.base import Source
from transforms.sources.options import RecordOptions, columns, features, history_column, vocabularies

ALL_STAGE, REALSHOW, HISTORIES = "all_stage", "realshow", "seq_effective_50_dict"
ID_COUNTS = "others/id_cnt.pkl"

STAGES = {
    "realshow": 5,
    "rerank_pos": 4,
    "rank_pos": 4,
    "rerank_neg": 3,
    "rank_neg": 3,
    "coarse_neg": 2,
    "prerank_neg": 1,
}
"""Value of `stage` for each flag of the raw files: how far the item got; 0 is padding.

These are the stage priorities of the data set's own FS-LTR code (its priority 6, a click, is a shown item
with label 1). An item with several flags has the largest value. 5 shown to the user; 4 in the first ten of
the ranking or the re-ranking stage; 3 left out there; 2 left out by coarse ranking; 1 left out by pre-ranking.
"""
EXPOSED_STAGE = STAGES["realshow"]

FEEDBACK = ("effective_view", "long_view", "like", "follow", "forward", "comment")
KEYS = ("request_id", "request_timestamp", "user_id", "video_id")
USER_IDS = ("device_id", "age", "gender", "province")
ITEM_IDS = ("author_id", "category_level_one", "category_level_two", "upload_type")
ITEM_NUMBERS = ("upload_timestamp", "duration")
RANKS = ("rank_index", "rerank_index")

HISTORY_COLUMNS = (
    "video_id", "author_id", "category_level_two", "category_level_one", "upload_type",
    "upload_timestamp", "duration", "time_ms", "playing_time", "request_id",
)  # fmt: skip
"""Columns of a history array; its rows are padded on the left, a row is real if `time_ms` > 0."""
HISTORY_LENGTH = 50

CATEGORY_ONE_PADDING = 2
"""`category_level_one` is the one id whose padding is not below the first id: 2 says that there is none."""
UTC_OFFSET = 8 * 3600
"""Seconds; hours and weekdays are those of China, whatever the machine's zone (the official code takes the latter)."""

PERIODS = {"full": ("2024-01-13", "2024-02-18"), "first_period": ("2024-01-13", "2024-02-04")}
"""First and last day of the protocols: the last day is `test`, the day before it `eval`, the rest `train`."""


class RecflowOptions(RecordOptions):
    """Options of a RecFlow import.

    Args:
      seed: of the choice of candidates and of `request_share`.
      records: which record kinds to write; with `row` alone the small `realshow` files are read in place
        of `all_stage`.
      splits: the days read. `full`: 13 January to 18 February 2024, as in RecFlow's own code;
        `first_period`: to 4 February, as in LCRON's; `files`: whatever days there are, three or more.
        The last day is `test`, the day before it `eval`, the rest `train`.
      label: which feedback on shown items is the label; RecFlow's own code takes `effective_view`.
      list_size: M, candidates in a request: all shown items, then others, equally many of each stage as
        far as there are enough. 128 is for training; whole-request metrics need all, 512 or more.
      history_length: effective views kept, the most recent ones; at most 50.
      request_share: share of the requests that is read, chosen by id.
      official_features: only the features of the official models; False adds duration and age of a video.
      frequency_threshold: videos, authors and users seen less often in the training split are out of vocabulary.
      hash_buckets: no vocabulary for videos and authors: ids are hashed into this number of buckets. None counts them.
    """

    splits: Literal["full", "first_period", "files"] = "full"
    label: Literal["effective_view", "long_view", "like", "follow", "forward", "comment"] = "effective_view"
    list_size: int = Field(default=128, ge=1)
    history_length: int = Field(default=HISTORY_LENGTH, ge=1, le=HISTORY_LENGTH)
    request_share: float = Field(default=1.0, gt=0.0, le=1.0)
    official_features: bool = True
    frequency_threshold: int = Field(default=5, ge=1)
    hash_buckets: int | None = Field(default=None, ge=2)

    @property
    def folder(self) -> str:
        """Which folder's feather files are read."""
        return ALL_STAGE if "request" in self.records else REALSHOW

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a feather file that an import reads."""
        return (*KEYS, *USER_IDS, *ITEM_IDS, *ITEM_NUMBERS, *STAGES, *RANKS, self.label)


_OTHER = ("duration_ms", "video_age_hours")
HISTORY_IDS = ("author_id", "category_level_two", "category_level_one", "upload_type")
"""Besides the video itself, what a history says of each video."""


class Recflow(Source[RecflowOptions]):
    """Requests (candidates of all stages) and rows (the shown ones) of RecFlow's raw files.

    The input folder holds, for each day, `all_stage/<day>.feather` (or, for rows alone,
    `realshow/<day>.feather`) and `seq_effective_50_dict/<day>.pkl`; `others/id_cnt.pkl`, where it is
    there, bounds the ids. Pickles are read without running anything (`restricted_pickle`). A request's
    candidates stand in order of id, which says nothing of their stage.

    `stage` says how far an item got (`STAGES`). It, `rank_pos`, `rerank_pos`, `rank_index` and
    `rerank_index` are the cascade's own decisions: never model inputs. `playing_time` is measured after
    the event and is not written.

    Ids are written as they are. The official code adds 1 to each so that 0 is padding; here -1 (or the
    empty string) is padding and ids are encoded by vocabulary, so the shift has nothing left to do. Its
    exception stays: `category_level_one` 2 is padding, and becomes -1. Hours, minutes and weekdays are
    UTC+8. A history holds views strictly before the request.
    """

    name = "recflow"
    summary = "RecFlow: a short-video cascade with the items of all its stages; requests and rows"
    licence = "repository: CC BY-SA 4.0, paper: CC BY-NC-SA 4.0; treat as non-commercial"
    where = "https://github.com/RecFlow-ICLR/RecFlow (links to the files)"
    records = ("row", "request")

    def feature_set(self) -> FeatureSet:
        options = self.options
        return FeatureSet(
            columns=_columns(options.history_length),
            features=_official_features() + (() if options.official_features else features(_OTHER, Encoding.QUANTILE)),
            vocabularies=(
                *vocabularies(("item_id", "author_id"), options.frequency_threshold, options.hash_buckets),
                *vocabularies(("user_id", "device_id"), options.frequency_threshold),
            ),
            list_size=options.list_size,
            requires_item_id=True,
        )


def _columns(history_length: int) -> tuple[Column, ...]:
    return (
        *columns(USER_IDS, "int64", "user"),
        Column(name="request_local_time", dtype="int64", entity="context"),
        Column(name="request_minute", dtype="int64", entity="context", max_value=59),
        history_column("history_item_id", "string", history_length),
        *(history_column(f"history_{name}", "int64", history_length) for name in HISTORY_IDS),
        *columns(ITEM_IDS, "int64", "item"),
        Column(name="upload_local_time", dtype="int64", entity="item"),
        Column(name="upload_minute", dtype="int64", entity="item", max_value=59),
        Column(name="duration_ms", dtype="int64", entity="item", min_value=0),
        Column(name="video_age_hours", dtype="float", entity="item", min_value=0),
        *columns(("stage",), "int64", "item", min_value=0, max_value=max(STAGES.values()), model_input=False),
        *columns(("rank_pos", "rerank_pos"), "int64", "item", min_value=0, max_value=1, model_input=False),
        *columns(RANKS, "int64", "item", model_input=False),
    )


def _official_features() -> tuple[Feature, ...]:
    """Those of the official models: 3 of the request's time, 5 of the user, 5 histories, 8 of the video."""

    def moment(name: str) -> tuple[Feature, ...]:
        return (
            Feature(name=f"{name}_weekday", encoding=Encoding.DAY_OF_WEEK, column=f"{name}_local_time"),
            Feature(name=f"{name}_hour", encoding=Encoding.HOUR_OF_DAY, column=f"{name}_local_time"),
            Feature(name=f"{name}_minute", encoding=Encoding.ID, vocabulary="minute"),
        )

    ids = ("item_id", *HISTORY_IDS)
    return (
        *moment("request"),
        *features(("user_id", *USER_IDS)),
        *(Feature(name=f"history_{name}", encoding=Encoding.ID, vocabulary=name) for name in ids),
        *features(ids),
        *moment("upload"),
    )
