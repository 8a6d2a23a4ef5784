"""What a RecFlow import can be told, and the names that its raw files use."""

from typing import Literal

from pydantic import Field

from transforms.sources.record_options import RecordOptions

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
      hash_buckets: no vocabulary for videos and authors: ids are hashed into so many. None counts them.
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
