"""TaobaoAd (Alimama): display ads shown on Taobao and clicks on them, with what users did in the shop."""

import os
from typing import TYPE_CHECKING, Any, ClassVar

from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Vocabulary
from transforms.sources.base import Source, SourceOptions
from transforms.sources.row_options import field_columns, history_column
from transforms.sources.taobao_ad_options import AD_IDS, AD_TABLE, PROFILE_TABLE, USER_FIELDS, TaobaoAdOptions

if TYPE_CHECKING:
    import apache_beam as beam

_COUNTED = ("user_id", "item_id", *AD_IDS)


class TaobaoAd(Source):
    """Rows, one an ad shown, of `raw_sample.csv`, `ad_feature.csv` and `user_profile.csv`.

    The label is `clk`. A history holds category, brand and kind of what the user did in the shop strictly
    before, from `behavior_log.csv`; without that file histories are empty. Its times are partly impossible
    (years later): such a behaviour is in no history. Users and ads without a line in their table have
    missing values. Splits are by days of China: 6 to 11 May 2017 `train`, 12 May `eval`, 13 May `test`.
    """

    name: ClassVar[str] = "taobao_ad"
    summary: ClassVar[str] = "TaobaoAd (Alimama): display ads shown and clicked, with shop histories; rows"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0 and Tianchi terms: research only, no redistribution"
    where: ClassVar[str] = "https://tianchi.aliyun.com/dataset/56 (the four csv files)"
    records: ClassVar[tuple[RecordKind, ...]] = ("row",)
    Options: ClassVar[type[SourceOptions]] = TaobaoAdOptions
    options: TaobaoAdOptions

    def feature_set(self) -> FeatureSet:
        length, threshold = self.options.history_length, self.options.frequency_threshold
        return FeatureSet(
            columns=(
                Column(name="pid", dtype="string", entity="context"),
                Column(name="local_time", dtype="int64", entity="context"),
                *field_columns(((name, PROFILE_TABLE.fields[name]) for name in USER_FIELDS), "user"),
                history_column("history_cate", "int64", length),
                history_column("history_brand", "int64", length),
                history_column("history_btag", "string", length),
                *field_columns(((name, AD_TABLE.fields[name]) for name in (*AD_IDS, "price")), "item"),
            ),
            features=_features(),
            vocabularies=tuple(Vocabulary(name=name, frequency_threshold=threshold) for name in _COUNTED),
            requires_item_id=True,
        )

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        from transforms.sources.taobao_ad_files import check_files

        check_files(input_dir)

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.taobao_ad_reader import TaobaoAdReader
        from transforms.sources.user_rows import ReadUserRows

        return ReadUserRows(input_dir, TaobaoAdReader(self.options))

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        from transforms.sources.taobao_ad_files import find_files

        return {**super().origin(input_dir), "files": [path.name for path in find_files(input_dir).all]}


def _features() -> tuple[Feature, ...]:
    return (
        Feature(name="pid", encoding=Encoding.ID),
        Feature(name="hour", encoding=Encoding.HOUR_OF_DAY, column="local_time"),
        Feature(name="weekday", encoding=Encoding.DAY_OF_WEEK, column="local_time"),
        *(Feature(name=name, encoding=Encoding.ID) for name in ("user_id", *USER_FIELDS)),
        Feature(name="history_cate", encoding=Encoding.ID, vocabulary="cate_id"),
        Feature(name="history_brand", encoding=Encoding.ID, vocabulary="brand"),
        Feature(name="history_btag", encoding=Encoding.ID),
        *(Feature(name=name, encoding=Encoding.ID) for name in ("item_id", *AD_IDS)),
        Feature(name="price", encoding=Encoding.QUANTILE),
    )
