"""Options of imports that can write rows, requests or both."""

from pydantic import field_validator

from transforms.features import RecordKind
from transforms.sources.base import SourceOptions


class RecordOptions(SourceOptions):
    """Options of a source of both record kinds.

    Args:
      records: which record kinds to write.
    """

    records: tuple[RecordKind, ...] = ("row", "request")

    @field_validator("records", mode="before")
    @classmethod
    def _one_or_more(cls, records: object) -> object:
        return (records,) if isinstance(records, str) else records

    @field_validator("records")
    @classmethod
    def _some_records(cls, records: tuple[RecordKind, ...]) -> tuple[RecordKind, ...]:
        if not records:
            raise ValueError("at least one of row, request")
        return records
