"""RecFlow (Kuaishou): requests with the items that each stage of a real cascade kept and left out."""

import os
from typing import TYPE_CHECKING, Any, ClassVar

from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Vocabulary
from transforms.sources.base import Source, SourceOptions
from transforms.sources.recflow_options import ITEM_IDS, STAGES, USER_IDS, RecflowOptions

if TYPE_CHECKING:
    import apache_beam as beam

HISTORY_IDS = ("author_id", "category_level_two", "category_level_one", "upload_type")
"""Besides the video itself, what a history says of each video."""


class Recflow(Source):
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

    name: ClassVar[str] = "recflow"
    summary: ClassVar[str] = "RecFlow: a short-video cascade with the items of all its stages; requests and rows"
    licence: ClassVar[str] = "repository: CC BY-SA 4.0, paper: CC BY-NC-SA 4.0; treat as non-commercial"
    where: ClassVar[str] = "https://github.com/RecFlow-ICLR/RecFlow (links to the files)"
    records: ClassVar[tuple[RecordKind, ...]] = ("row", "request")
    Options: ClassVar[type[SourceOptions]] = RecflowOptions
    options: RecflowOptions

    def feature_set(self) -> FeatureSet:
        options = self.options
        large = {
            name: Vocabulary(
                name=name, frequency_threshold=options.frequency_threshold, hash_buckets=options.hash_buckets
            )
            for name in ("item_id", "author_id")
        }
        users = [
            Vocabulary(name=name, frequency_threshold=options.frequency_threshold) for name in ("user_id", "device_id")
        ]
        return FeatureSet(
            columns=_columns(options.history_length),
            features=_official_features() + (() if options.official_features else _other_features()),
            vocabularies=(*large.values(), *users),
            list_size=options.list_size,
            requires_item_id=True,
        )

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        from transforms.sources.recflow_files import check_day, id_limits, split_days

        days = split_days(input_dir, self.options)
        id_limits(input_dir)
        for day in days:
            check_day(input_dir, day, self.options)

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.recflow_reader import ReadRecflow

        return ReadRecflow(input_dir, self.options)

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        from transforms.sources.recflow_files import split_days

        return {**super().origin(input_dir), "days": split_days(input_dir, self.options)}


def _columns(history_length: int) -> tuple[Column, ...]:
    def history(name: str, dtype: Any) -> Column:
        return Column(
            name=f"history_{name}", dtype=dtype, entity="user", variable_length=True, max_length=history_length
        )

    return (
        *(Column(name=name, dtype="int64", entity="user") for name in USER_IDS),
        Column(name="request_local_time", dtype="int64", entity="context"),
        Column(name="request_minute", dtype="int64", entity="context", max_value=59),
        history("item_id", "string"),
        *(history(name, "int64") for name in HISTORY_IDS),
        *(Column(name=name, dtype="int64", entity="item") for name in ITEM_IDS),
        Column(name="upload_local_time", dtype="int64", entity="item"),
        Column(name="upload_minute", dtype="int64", entity="item", max_value=59),
        Column(name="duration_ms", dtype="int64", entity="item", min_value=0),
        Column(name="video_age_hours", dtype="float", entity="item", min_value=0),
        Column(
            name="stage", dtype="int64", entity="item", min_value=0, max_value=max(STAGES.values()), model_input=False
        ),
        *(
            Column(name=name, dtype="int64", entity="item", min_value=0, max_value=1, model_input=False)
            for name in ("rank_pos", "rerank_pos")
        ),
        *(
            Column(name=name, dtype="int64", entity="item", model_input=False)
            for name in ("rank_index", "rerank_index")
        ),
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
        *(Feature(name=name, encoding=Encoding.ID) for name in ("user_id", *USER_IDS)),
        *(Feature(name=f"history_{name}", encoding=Encoding.ID, vocabulary=name) for name in ids),
        *(Feature(name=name, encoding=Encoding.ID) for name in ids),
        *moment("upload"),
    )


def _other_features() -> tuple[Feature, ...]:
    return (
        Feature(name="duration_ms", encoding=Encoding.QUANTILE),
        Feature(name="video_age_hours", encoding=Encoding.QUANTILE),
    )
