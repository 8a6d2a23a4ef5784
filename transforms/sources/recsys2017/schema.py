"""RecSys Challenge 2017 (XING): job postings shown to users, and what they did with them."""

from itertools import chain

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
from transforms.sources.text_format import CATEGORY, KEY, NUMBER, TEXT, FieldKind, TextFormat

INTERACTIONS, USERS, ITEMS = "interactions.csv", "users.csv", "items.csv"
_TYPE = FieldKind("[0-5]", "0 to 5", "int64")
POSITIVE_TYPES = (1, 2, 3)
RECRUITER_TYPE = 5
"""A recruiter's interest in the user, and nothing that the user did."""


def _raw(**fields: FieldKind) -> TextFormat:
    return TextFormat(fields, delimiter="\t", header="counted")


INTERACTION_TABLE = _raw(user_id=KEY, item_id=KEY, interaction_type=_TYPE, created_at=KEY)
_FIELD = {**dict.fromkeys(("career_level", "discipline_id", "industry_id"), CATEGORY), "country": TEXT}
"""What users and items have in common, in this order."""
USER_TABLE = _raw(
    id=KEY,
    jobroles=TEXT,
    **_FIELD,
    region=CATEGORY,
    experience_n_entries_class=CATEGORY,
    experience_years_experience=CATEGORY,
    experience_years_in_current=CATEGORY,
    edu_degree=CATEGORY,
    edu_fieldofstudies=TEXT,
    wtcj=CATEGORY,
    premium=CATEGORY,
)
ITEM_TABLE = _raw(
    id=KEY,
    title=TEXT,
    **_FIELD,
    is_payed=CATEGORY,
    region=CATEGORY,
    latitude=NUMBER,
    longitude=NUMBER,
    employment=CATEGORY,
    tags=TEXT,
    created_at=CATEGORY,
)
SHARED_IDS = ("career_level", "discipline_id", "industry_id", "country", "region")
"""Fields of users and of items alike; each pair has one vocabulary."""
USER_IDS = (
    "experience_n_entries_class", "experience_years_experience", "experience_years_in_current", "edu_degree", "wtcj",
    "premium",
)  # fmt: skip
ITEM_IDS = ("is_payed", "employment")
PLACE = ("latitude", "longitude")
USER_LISTS = {"jobroles": numbered("jobroles", 3), "edu_fieldofstudies": numbered("edu_fieldofstudies", 2)}
ITEM_LISTS = {"title": numbered("title", 4), "tags": numbered("tags", 4)}
"""Columns of the first members of each list."""


class Recsys2017Options(RowOptions):
    """Options of a RecSys 2017 import.

    Args:
      history_length: items with a positive interaction kept, the most recent ones; at most 50.
      frequency_threshold: users, items and terms seen less often in the training split are out of vocabulary.
      eval_days, test_days: the last `test_days` times 24 hours of the interactions are `test`, the
        `eval_days` before them `eval`, the rest `train`.
    """

    frequency_threshold: int = Field(default=2, ge=1)
    eval_days: float = Field(default=7.0, gt=0)
    test_days: float = Field(default=7.0, gt=0)


HISTORY = "history_item_id"
_LISTS = {**USER_LISTS, **ITEM_LISTS}


class Recsys2017(Source[Recsys2017Options]):
    """Rows, one an interaction, of `interactions.csv`, `users.csv` and `items.csv`: tab-separated, with a header.

    The header's names carry long prefixes that differ from copy to copy, so fields are known by their
    place. Label 1: a click, a bookmark or a reply; 0: shown, or deleted from the list. A recruiter's
    interest (type 5) is nothing that the user did, and is left out. A history holds the items of label 1
    strictly before. Of lists of terms the first few have a column each: lists are histories to the models.
    A field that users and items share (`career_level`, say) is `user_career_level` and `item_career_level`
    with one vocabulary. 0 says unknown in several fields and is an id like any other.
    """

    name = "recsys2017"
    summary = "RecSys Challenge 2017 (XING): job postings shown, clicked, replied to; rows"
    licence = "terms of the challenge: its participants only, no redistribution"
    where = "https://www.recsyschallenge.com/2017 (closed; interactions.csv, users.csv, items.csv)"

    def feature_set(self) -> FeatureSet:
        return FeatureSet(
            columns=_columns(self.options.history_length),
            features=_features(),
            vocabularies=vocabularies(("user_id", "item_id", *_LISTS), self.options.frequency_threshold),
            requires_item_id=True,
        )


def _columns(history_length: int) -> tuple[Column, ...]:
    return (
        *field_columns(USER_TABLE, SHARED_IDS, "user", prefix="user_"),
        *field_columns(USER_TABLE, USER_IDS, "user"),
        *columns(chain(*USER_LISTS.values()), "string", "user"),
        history_column(HISTORY, "string", history_length),
        *field_columns(ITEM_TABLE, SHARED_IDS, "item", prefix="item_"),
        *field_columns(ITEM_TABLE, (*ITEM_IDS, *PLACE), "item"),
        *columns(chain(*ITEM_LISTS.values()), "string", "item"),
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
        *features((*USER_IDS, *ITEM_IDS)),
        *chain(*(features(names, vocabulary=vocabulary) for vocabulary, names in _LISTS.items())),
        *features((*PLACE, "item_age_days"), Encoding.QUANTILE),
    )
