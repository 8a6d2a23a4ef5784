"""What a TaobaoAd import can be told, and the fields of its raw files."""

from pydantic import Field

from transforms.sources.row_options import RowOptions
from transforms.sources.text_format import CATEGORY, FLAG, KEY, NUMBER, SECONDS, TEXT, FieldKind, TextFormat

SAMPLE, ADS, PROFILES, BEHAVIOURS = "raw_sample.csv", "ad_feature.csv", "user_profile.csv", "behavior_log.csv"
_BTAG = FieldKind("i?pv|cart|fav|buy", "pv, cart, fav or buy", "string")

SAMPLE_TABLE = TextFormat(
    {"user": KEY, "time_stamp": KEY, "adgroup_id": KEY, "pid": TEXT, "nonclk": FLAG, "clk": FLAG},
    # The data set's description has the second name.
    other_names={"noclk": "nonclk"},
)
USER_FIELDS = (
    "cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level", "shopping_level", "occupation",
    "new_user_class_level",
)  # fmt: skip
PROFILE_TABLE = TextFormat({"userid": KEY, **dict.fromkeys(USER_FIELDS, CATEGORY)})
AD_IDS = ("cate_id", "campaign_id", "customer", "brand")
AD_TABLE = TextFormat(
    {"adgroup_id": KEY, **dict.fromkeys(AD_IDS, CATEGORY), "price": NUMBER}, other_names={"customer_id": "customer"}
)
BEHAVIOUR_TABLE = TextFormat(
    {"user": KEY, "time_stamp": SECONDS, "btag": _BTAG, "cate": CATEGORY, "brand": CATEGORY},
    other_names={"nick": "user"},
)

UTC_OFFSET = 8 * 3600
FIRST_DAY, EVAL_DAY, TEST_DAY = "2017-05-06", "2017-05-12", "2017-05-13"
"""Days of China; the last one is `test`."""


class TaobaoAdOptions(RowOptions):
    """Options of a TaobaoAd import.

    Args:
      history_length: behaviours kept, the most recent ones; at most 50.
      frequency_threshold: ids seen less often in the training split are out of vocabulary; 10 is that of the
        TaobaoAd_x1 benchmark.
    """

    frequency_threshold: int = Field(default=10, ge=1)
