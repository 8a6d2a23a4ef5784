"""RecSys Challenge 2017 (XING): job postings shown to users, and what they did with them."""

import os
from typing import TYPE_CHECKING, Any, ClassVar

from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Vocabulary
from transforms.sources.base import Source, SourceOptions
from transforms.sources.recsys2017_options import (
    INTERACTIONS,
    ITEM_IDS,
    ITEM_LISTS,
    ITEM_TABLE,
    ITEMS,
    PLACE,
    SHARED_IDS,
    USER_IDS,
    USER_LISTS,
    USER_TABLE,
    USERS,
    Recsys2017Options,
)
from transforms.sources.row_options import history_column

if TYPE_CHECKING:
    import apache_beam as beam

HISTORY = "history_item_id"
_LISTS = {**USER_LISTS, **ITEM_LISTS}


class Recsys2017(Source):
    """Rows, one an interaction, of `interactions.csv`, `users.csv` and `items.csv`: tab-separated, with a header.

    The header's names carry long prefixes that differ from copy to copy, so fields are known by their
    place. Label 1: a click, a bookmark or a reply; 0: shown, or deleted from the list. A recruiter's
    interest (type 5) is nothing that the user did, and is left out. A history holds the items of label 1
    strictly before. Of lists of terms the first few have a column each: lists are histories to the models.
    A field that users and items share (`career_level`, say) is `user_career_level` and `item_career_level`
    with one vocabulary. 0 says unknown in several fields and is an id like any other.
    """

    name: ClassVar[str] = "recsys2017"
    summary: ClassVar[str] = "RecSys Challenge 2017 (XING): job postings shown, clicked, replied to; rows"
    licence: ClassVar[str] = "terms of the challenge: its participants only, no redistribution"
    where: ClassVar[str] = "https://www.recsyschallenge.com/2017 (closed; interactions.csv, users.csv, items.csv)"
    records: ClassVar[tuple[RecordKind, ...]] = ("row",)
    Options: ClassVar[type[SourceOptions]] = Recsys2017Options
    options: Recsys2017Options

    def feature_set(self) -> FeatureSet:
        vocabularies = ("user_id", "item_id", *_LISTS)
        threshold = self.options.frequency_threshold
        return FeatureSet(
            columns=_columns(self.options.history_length),
            features=_features(),
            vocabularies=tuple(Vocabulary(name=name, frequency_threshold=threshold) for name in vocabularies),
            requires_item_id=True,
        )

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        from transforms.sources.recsys2017_files import check_files

        check_files(input_dir)

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.recsys2017_reader import Recsys2017Reader
        from transforms.sources.user_rows import ReadUserRows

        return ReadUserRows(input_dir, Recsys2017Reader(self.options))

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        return {**super().origin(input_dir), "files": [INTERACTIONS, USERS, ITEMS]}


def _columns(history_length: int) -> tuple[Column, ...]:
    def listed(lists: dict[str, tuple[str, ...]], entity: Any) -> tuple[Column, ...]:
        return tuple(Column(name=name, dtype="string", entity=entity) for names in lists.values() for name in names)

    return (
        *(Column(name=f"user_{name}", dtype=USER_TABLE.fields[name].dtype, entity="user") for name in SHARED_IDS),
        *(Column(name=name, dtype="int64", entity="user") for name in USER_IDS),
        *listed(USER_LISTS, "user"),
        history_column(HISTORY, "string", history_length),
        *(Column(name=f"item_{name}", dtype=ITEM_TABLE.fields[name].dtype, entity="item") for name in SHARED_IDS),
        *(Column(name=name, dtype="int64", entity="item") for name in ITEM_IDS),
        *(Column(name=name, dtype="float", entity="item") for name in PLACE),
        *listed(ITEM_LISTS, "item"),
        Column(name="item_age_days", dtype="float", entity="item", min_value=0),
        Column(name="interaction_type", dtype="int64", entity="item", min_value=0, max_value=4, model_input=False),
    )


def _features() -> tuple[Feature, ...]:
    return (
        Feature(name="user_id", encoding=Encoding.ID),
        Feature(name="item_id", encoding=Encoding.ID),
        Feature(name=HISTORY, encoding=Encoding.ID, vocabulary="item_id"),
        *(
            Feature(name=f"{whose}_{name}", encoding=Encoding.ID, vocabulary=name)
            for whose in ("user", "item")
            for name in SHARED_IDS
        ),
        *(Feature(name=name, encoding=Encoding.ID) for name in (*USER_IDS, *ITEM_IDS)),
        *(
            Feature(name=name, encoding=Encoding.ID, vocabulary=vocabulary)
            for vocabulary, names in _LISTS.items()
            for name in names
        ),
        *(Feature(name=name, encoding=Encoding.QUANTILE) for name in (*PLACE, "item_age_days")),
    )
