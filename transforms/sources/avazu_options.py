"""What an Avazu import can be told, and the fields of a raw line."""

from pydantic import Field

from transforms.sources.line_format import Kind, LineFormat, LineOptions

KEY_FIELD, LABEL_FIELD, HOUR_FIELD = "id", "click", "hour"
_SITE_AND_APP = ("site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category")
_DEVICE = ("device_id", "device_ip", "device_model")
_ANONYMOUS = tuple(f"C{i}" for i in range(14, 22))
NUMBERED = frozenset({"C1", "banner_pos", "device_type", "device_conn_type", *_ANONYMOUS})
"""Categories whose ids are integers; -1 is an id like any other."""
CATEGORIES = ("C1", "banner_pos", *_SITE_AND_APP, *_DEVICE, "device_type", "device_conn_type", *_ANONYMOUS)
"""The 21 categories of a line, in order."""
LINE = LineFormat(
    file="train.csv",
    fields={KEY_FIELD: Kind.KEY, LABEL_FIELD: Kind.LABEL, HOUR_FIELD: Kind.HOUR}
    | {name: Kind.INTEGER if name in NUMBERED else Kind.HEX for name in CATEGORIES},
    summary="id, click, hour, C1, banner_pos, site_id to device_conn_type, C14-C21",
    delimiter=",",
    header=True,
)


class AvazuOptions(LineOptions):
    """Options of an Avazu import: those of `LineOptions`.

    Args:
      frequency_threshold: a token seen less often in the training split is out of vocabulary; 2 is that
        of the Avazu_x4 benchmark.
    """

    frequency_threshold: int = Field(default=2, ge=1)
