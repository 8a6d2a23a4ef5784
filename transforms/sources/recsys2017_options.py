"""What a RecSys 2017 import can be told, and the fields of its raw files in their order."""

from pydantic import Field

from transforms.sources.row_options import RowOptions, numbered
from transforms.sources.text_format import CATEGORY, KEY, NUMBER, TEXT, FieldKind, TextFormat

INTERACTIONS, USERS, ITEMS = "interactions.csv", "users.csv", "items.csv"
_TYPE = FieldKind("[0-5]", "0 to 5", "int64")
POSITIVE_TYPES = (1, 2, 3)
RECRUITER_TYPE = 5
"""A recruiter's interest in the user, and nothing that the user did."""


def _raw(**fields: FieldKind) -> TextFormat:
    return TextFormat(fields, delimiter="\t", by_position=True)


INTERACTION_TABLE = _raw(user_id=KEY, item_id=KEY, interaction_type=_TYPE, created_at=KEY)
USER_TABLE = _raw(
    id=KEY,
    jobroles=TEXT,
    career_level=CATEGORY,
    discipline_id=CATEGORY,
    industry_id=CATEGORY,
    country=TEXT,
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
    career_level=CATEGORY,
    discipline_id=CATEGORY,
    industry_id=CATEGORY,
    country=TEXT,
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
