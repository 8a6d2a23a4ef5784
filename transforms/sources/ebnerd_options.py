"""What an EB-NeRD import can be told."""

from typing import Literal

from pydantic import Field, field_validator

from transforms.features import RecordKind
from transforms.sources.base import SourceOptions

WINDOWS_HOURS = (1, 6, 24)
"""Counters look back so far; never to the start of the data, whose distance would be a feature."""


class EbnerdOptions(SourceOptions):
    """Options of an EB-NeRD import.

    Args:
      seed: of `request_share`.
      records: which record kinds to write; request records are about 40 kB each.
      request_share: share of the lists that become request records, chosen by id.
      list_size: M, candidates in a request.
      pool_hours: articles shown to anybody in the last so many hours are candidates.
      bucket_minutes: counters and pool know events of earlier buckets of so many minutes; divides 60.
      history_length: articles of a user's history kept, the most recent ones.
      splits: `time`: the last `test_hours` are `test`, the `eval_hours` before them `eval`, the rest
        `train`; `all_test`: everything is `test`, for data that a finished model is to be measured on.
      test_hours, eval_hours: see `splits`.
      ctr_prior: click rate of an article that was never shown.
      ctr_prior_weight: impressions that the prior counts for.
      id_features: also offer ids of users, articles and histories. Four in five articles are new after
        a week, so ids do not carry over.
      frequency_threshold: with `id_features`: an id seen less often is out of vocabulary.
    """

    records: tuple[RecordKind, ...] = ("row", "request")
    request_share: float = Field(default=1.0, gt=0.0, le=1.0)
    list_size: int = Field(default=512, ge=1)
    pool_hours: int = Field(default=6, ge=1)
    bucket_minutes: int = Field(default=10, ge=1, le=60)
    history_length: int = Field(default=50, ge=1)
    splits: Literal["time", "all_test"] = "time"
    test_hours: float = Field(default=24.0, gt=0)
    eval_hours: float = Field(default=24.0, gt=0)
    ctr_prior: float = Field(default=0.1, gt=0.0, lt=1.0)
    ctr_prior_weight: float = Field(default=20.0, gt=0)
    id_features: bool = False
    frequency_threshold: int = Field(default=20, ge=1)

    @field_validator("bucket_minutes")
    @classmethod
    def _whole_buckets(cls, minutes: int) -> int:
        if 60 % minutes:
            raise ValueError("a number of minutes that divides 60, e.g. 10")
        return minutes

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

    @property
    def bucket_seconds(self) -> int:
        """Length of a bucket."""
        return self.bucket_minutes * 60

    def buckets(self, hours: int) -> int:
        """Buckets in so many hours."""
        return hours * 60 // self.bucket_minutes
