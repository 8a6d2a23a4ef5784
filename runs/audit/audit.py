"""The audit of a dataset on disk, and what is kept of it for the next one."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runs.audit.drift import Profile, drift, profile_of
from runs.audit.faults import faults
from runs.audit.findings import GRADES, Audit, Finding
from runs.audit.label_counts import label_counts
from runs.audit.leaks import leaks
from runs.audit.splits import splits
from runs.audit.table import MAX_EXAMPLES, Table, read_table
from transforms.errors import InputError
from transforms.features import SPLITS, FeatureSet, RecordKind, Split
from transforms.records import Dataset, load_dataset, shard_paths


@dataclass(frozen=True)
class AuditInput:
    """What is audited.

    Args:
      files: shards by split.
      feature_set, record: what they hold; the features are those that a model would see.
      source, dataset_sha256: of the dataset.
      examples: how many examples there are, about.
      accepted: findings that the dataset's declaration accepts.
    """

    files: Mapping[Split, Sequence[str]]
    feature_set: FeatureSet
    record: RecordKind
    source: str
    dataset_sha256: str
    examples: int
    accepted: tuple[str, ...] = ()

    def read(self, max_examples: int = MAX_EXAMPLES) -> Table:
        """Its examples; of large data those of some users."""
        return read_table(self.files, self.feature_set, self.record, self.examples, max_examples)


def audit(
    directory: str | os.PathLike[str],
    record: RecordKind | None = None,
    baseline: str | os.PathLike[str] | None = None,
    max_examples: int = MAX_EXAMPLES,
    now: float | None = None,
) -> Audit:
    """Audits a dataset; nothing is trained.

    Args:
      directory: the dataset.
      record: kind of records; None: rows if there are any.
      baseline: another dataset, with which this one is compared; None: with none.
      max_examples: of larger data only the records of a share of the users are read.
      now: seconds since 1970; None: the present.

    Raises:
      InputError: a folder is no dataset, or has no such records.
    """
    dataset = load_dataset(directory)
    kind = record or ("row" if "row" in dataset.records else "request")
    table = input_of(directory, dataset, kind).read(max_examples)
    other = None
    if baseline is not None:
        earlier = load_dataset(baseline)
        other = profile_of(input_of(baseline, earlier, kind).read(max_examples), earlier.sha256)
    return audit_of(input_of(directory, dataset, kind), table, other, now=now)


def audit_of(
    what: AuditInput, table: Table, baseline: Profile | None, more: Sequence[Finding] = (), now: float | None = None
) -> Audit:
    """Audits a table that was read.

    Args:
      what: what was read.
      table: its examples.
      baseline: data to compare with; None: none.
      more: findings from elsewhere.
      now: seconds since 1970; None: the present.
    """
    expected: tuple[Split, ...] = tuple(split for split in SPLITS if split in what.files)
    findings = [*faults(table, expected, time.time() if now is None else now), *more]
    findings += [*splits(table), *leaks(table.of("train")), *label_counts(table)]
    if baseline is not None:
        findings += drift(baseline, table)
    ranked = sorted(findings, key=lambda one: (GRADES.index(one.grade), one.check, one.column))
    return Audit(
        source=what.source,
        record=what.record,
        dataset_sha256=what.dataset_sha256,
        examples={split: int((table.split == SPLITS.index(split)).sum()) for split in expected},
        share=table.share,
        findings=tuple(ranked),
        baseline="" if baseline is None else baseline.dataset_sha256,
        accepted=what.accepted,
    )


def input_of(
    directory: str | os.PathLike[str], dataset: Dataset, record: RecordKind, feature_set: FeatureSet | None = None
) -> AuditInput:
    """What to audit of a dataset.

    Raises:
      InputError: it has no such records, or a shard is missing.
    """
    if record not in dataset.records:
        fix = "choose another --record"
        raise InputError(str(directory), f"records of kind {', '.join(dataset.records)}", f"kind {record}", fix)
    present = dataset.records[record]
    files: dict[Split, list[str]] = {
        split: shard_paths(directory, dataset, record, split) if split in present and present[split].records else []
        for split in SPLITS
    }
    examples = sum(info.examples for info in present.values())
    accepted = accepted_in(dataset.origin)
    features = feature_set or dataset.feature_set
    return AuditInput(files, features, record, dataset.source, dataset.sha256, examples, accepted)


def accepted_in(origin: Mapping[str, Any]) -> tuple[str, ...]:
    """The findings that a dataset's origin accepts: `audit.accept` of a declared log."""
    for section in (origin, origin.get("declaration")):
        section = section.get("audit") if isinstance(section, Mapping) else None
        if isinstance(section, Mapping) and section.get("accept"):
            return tuple(str(one) for one in section["accept"])
    return ()
