"""TaobaoAd (Alimama): display ads shown on Taobao and clicks on them, with what users did in the shop."""

from pydantic import Field

from transforms.features import Column, Encoding, Feature, FeatureSet
from transforms.sources.base import Source
from transforms.sources.options import RowOptions, features, field_columns, history_column, vocabularies
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


class TaobaoAd(Source[TaobaoAdOptions]):
    """Rows, one an ad shown, of `raw_sample.csv`, `ad_feature.csv` and `user_profile.csv`.

    The label is `clk`. A history holds category, brand and kind of what the user did in the shop strictly
    before, from `behavior_log.csv`; without that file histories are empty. Its times are partly impossible
    (years later): such a behaviour is in no history. Users and ads without a line in their table have
    missing values. Splits are by days of China: 6 to 11 May 2017 `train`, 12 May `eval`, 13 May `test`.
    """

    name = "taobao_ad"
    summary = "TaobaoAd (Alimama): display ads shown and clicked, with shop histories; rows"
    licence = "CC BY-NC-SA 4.0 and Tianchi terms: research only, no redistribution"
    where = "https://tianchi.aliyun.com/dataset/56 (the four csv files)"

    def feature_set(self) -> FeatureSet:
        length = self.options.history_length
        return FeatureSet(
            columns=(
                Column(name="pid", dtype="string", entity="context"),
                Column(name="local_time", dtype="int64", entity="context"),
                *field_columns(PROFILE_TABLE, USER_FIELDS, "user"),
                history_column("history_cate", "int64", length),
                history_column("history_brand", "int64", length),
                history_column("history_btag", "string", length),
                *field_columns(AD_TABLE, (*AD_IDS, "price"), "item"),
            ),
            features=_features(),
            vocabularies=vocabularies(("user_id", "item_id", *AD_IDS), self.options.frequency_threshold),
            requires_item_id=True,
        )


def _features() -> tuple[Feature, ...]:
    return (
        Feature(name="pid", encoding=Encoding.ID),
        Feature(name="hour", encoding=Encoding.HOUR_OF_DAY, column="local_time"),
        Feature(name="weekday", encoding=Encoding.DAY_OF_WEEK, column="local_time"),
        *features(("user_id", *USER_FIELDS)),
        Feature(name="history_cate", encoding=Encoding.ID, vocabulary="cate_id"),
        Feature(name="history_brand", encoding=Encoding.ID, vocabulary="brand"),
        Feature(name="history_btag", encoding=Encoding.ID),
        *features(("item_id", *AD_IDS)),
        Feature(name="price", encoding=Encoding.QUANTILE),
    )
