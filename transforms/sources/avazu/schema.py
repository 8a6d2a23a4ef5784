"""Avazu Kaggle click-through rate: 21 categories and the hour of a mobile ad impression."""

from pydantic import Field

from transforms.features import Encoding, Feature, FeatureSet, Vocabulary
from transforms.sources.base import Source
from transforms.sources.options import LineOptions, columns, features
from transforms.sources.text_format import FLAG, HEX, INTEGER_CODE, LONG_KEY, CharacterRun, FieldKind, TextFormat

KEY_FIELD, LABEL_FIELD, HOUR_FIELD = "id", "click", "hour"
_SITE_AND_APP = ("site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category")
_DEVICE = ("device_id", "device_ip", "device_model")
_ANONYMOUS = tuple(f"C{i}" for i in range(14, 22))
NUMBERED = frozenset({"C1", "banner_pos", "device_type", "device_conn_type", *_ANONYMOUS})
"""Categories whose ids are integers; -1 is an id like any other."""
CATEGORIES = ("C1", "banner_pos", *_SITE_AND_APP, *_DEVICE, "device_type", "device_conn_type", *_ANONYMOUS)
"""The 21 categories of a line, in order."""
_HOUR = FieldKind(CharacterRun("0-9", 8, 8), "an hour YYMMDDHH, e.g. 14102100", "int64")
LINE = TextFormat(
    {KEY_FIELD: LONG_KEY, LABEL_FIELD: FLAG, HOUR_FIELD: _HOUR}
    | {name: INTEGER_CODE if name in NUMBERED else HEX for name in CATEGORIES},
    header="exact",
    summary="id, click, hour, C1, banner_pos, site_id to device_conn_type, C14-C21",
)


class AvazuOptions(LineOptions):
    """Options of an Avazu import: those of `LineOptions`.

    Args:
      frequency_threshold: a token seen less often in the training split is out of vocabulary; 2 is that
        of the Avazu_x4 benchmark.
    """

    frequency_threshold: int = Field(default=2, ge=1)


VOCABULARY = "avazu"
_TIMES = {"hour": Encoding.HOUR_OF_DAY, "weekday": Encoding.DAY_OF_WEEK, "weekend": Encoding.WEEKEND}


class Avazu(Source[AvazuOptions]):
    """Rows of Avazu's `train.csv`: separated by commas, with a header, 24 columns.

    The 24 features are those of the Avazu_x4 benchmark: the hour of the day, the weekday and whether
    it is a weekend, all from `hour` (UTC), and the 21 categories as they are. (Benchmark code counts
    weekdays from Sunday, ours from Monday; rows of an embedding table have no order.) Each line's `id`
    is unique: it becomes `request_id`, which no model sees. `timestamp` is the start of the line's
    hour. `user_id` and `item_id` are missing (empty): Avazu names neither.
    """

    name = "avazu"
    summary = "Avazu Kaggle mobile ad clicks: 21 categories and the hour; rows"
    licence = "Kaggle competition terms: research only, no redistribution"
    where = "https://www.kaggle.com/c/avazu-ctr-prediction (train.csv)"

    def feature_set(self) -> FeatureSet:
        times = (Feature(name=name, encoding=encoding, column="timestamp") for name, encoding in _TIMES.items())
        return FeatureSet(
            columns=columns(CATEGORIES, "string", "context"),
            features=(*times, *features(CATEGORIES, vocabulary=VOCABULARY)),
            vocabularies=(
                Vocabulary(name=VOCABULARY, prefix=True, frequency_threshold=self.options.frequency_threshold),
            ),
        )
