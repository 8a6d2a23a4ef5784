"""What the audit looks for, and how a finding is named, graded and accepted."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from transforms.errors import InputError
from transforms.import_path import nearest

Grade = Literal["leak", "error", "warning", "info"]
Mode = Literal["stop", "report", "off"]
GRADES: tuple[Grade, ...] = ("leak", "error", "warning", "info")
STOPPING = frozenset({"leak", "error"})
"""Grades that stop a pipeline by default."""


@dataclass(frozen=True)
class Check:
    """One thing that the audit looks for.

    Args:
      grade: of its gravest finding.
      looks_for: what it finds.
      threshold: from which figure on.
      remedy: what to do about a finding.
    """

    grade: Grade
    looks_for: str
    threshold: str
    remedy: str


CHECKS: dict[str, Check] = {
    "single_feature": Check(
        "leak",
        "a column that predicts the label by itself: numbers by value, bins and missing values; ids by the label rate "
        "of their other rows; lists by length, last value and most telling value; vectors by component and direction; "
        "times by their place in the minute, hour and day",
        "AUC of at least 0.95; or at least 0.85, and still 0.8 among rows of which all other columns say the same (of "
        "lists, vectors and times: over twice the lift above 0.5 of every other column), where the column is not one "
        "of the user or the item alone; from 0.8 on a warning",
        "leave the column out (features.drop), or compute it from what was known before the event",
    ),
    "after_click": Check(
        "leak",
        "a column that differs from its usual value only in positive rows",
        "at least 98 % positives among at least 50 such rows; a warning: a value of which hardly any row is positive, "
        "where 50 should be",
        "the column is measured after the click: leave it out",
    ),
    "counts_itself": Check(
        "leak",
        "a number of a user, an item or another id that already contains the row's own label: it jumps with the click "
        "and not after it, equals a sum or mean of labels that includes the row, or follows the label rates of the "
        "ids, of train or of the whole log, more closely than chance lets any number that was known before",
        "AUC of the jump of at least 0.9; equal in at least 90 % of the rows; a dispersion below 0.6, where chance "
        "alone gives 1",
        "count only events strictly before the row's time",
    ),
    "history_holds_event": Check(
        "leak",
        "a history that already holds the row's own item",
        "share of positives minus share of negatives whose history does of at least 0.8, or 98 % positives among the "
        "rows whose history does",
        "cut histories strictly before the row's time",
    ),
    "id_encodes_label": Check(
        "leak",
        "an id whose first or last character, length or remainder tells the label",
        "AUC of at least 0.9",
        "find out where the ids of positives and negatives come from, and draw both from one place",
    ),
    "split_overlap": Check(
        "error",
        "rows of the same user, item, time and label in train and in a later split; a warning: parts of one request, "
        "or equal rows where there are no times",
        "at least 1 % of the later split's rows",
        "split by whole requests, or by time",
    ),
    "empty_split": Check("error", "a split without rows", "no row", "give the split rows, or another share of them"),
    "missing_column": Check(
        "error",
        "a declared column that records lack",
        "any record",
        "write the column in every record, with markers where the value is missing",
    ),
    "labels": Check(
        "error",
        "labels that are all 0 or all 1 in a split, missing, or outside of 0 to 1",
        "any split",
        "correct how the label is derived; check that clicks were joined to impressions",
    ),
    "duplicates": Check(
        "error",
        "rows that are equal in everything but the request's id",
        "a warning from 1 % on, an error from 10 % on; from 40 % on where times are of whole minutes or longer",
        "import each event once",
    ),
    "repeated_period": Check(
        "error",
        "an hour or day whose rows stand there twice, at the same time or moved by whole hours",
        "at least half of the rows of the period, and at least 10; a warning where most periods are like that",
        "import each file once, and look at the files of that time",
    ),
    "future_times": Check(
        "error", "times after now", "any row more than a day ahead", "correct the unit, zone or year of the times"
    ),
    "stray_times": Check(
        "error",
        "a few rows whose time lies far from that of all others",
        "at most 10 % of the rows, over a year and three times the span of the others away",
        "correct the times of these rows, or leave the rows out",
    ),
    "garbage_text": Check(
        "error",
        "strings that are no text: invalid UTF-8, control or replacement characters",
        "at least 0.1 % of the values, unless all are binary ids",
        "look at the encoding and the separators of the raw files",
    ),
    "drift": Check(
        "error",
        "values distributed otherwise than in the data of the served model",
        "Jensen-Shannon divergence over the deciles of at least 0.5 bit, or 5 % of the values far outside their range; "
        "of a column that moves within that data, as counts so far do, half of the values far outside their range",
        "correct the column; where the change is real, set the check to `report` for one run",
    ),
    "unknown_ids": Check(
        "error",
        "ids that the data of the served model does not have",
        "40 % of the rows that would have known ids at the usual turnover, beyond 4 standard errors",
        "check the id columns and their joins; where the change is real, set the check to `report` for one run",
    ),
    "label_rate": Check(
        "error",
        "another label rate than in the data of the served model",
        "a factor of 2 or more, beyond 6 standard errors",
        "check the label; where the change is real, set the check to `report` for one run",
    ),
    "served_auc": Check(
        "error",
        "new labels that the served model no longer predicts",
        "AUC below 0.5, or less than half of the lift above 0.5 that the model had, beyond 3 standard errors",
        "look for flipped or misjoined labels, and for features that stand in the wrong columns",
    ),
    "flipped_labels": Check(
        "error",
        "histories to which negative rows add their item, and positive rows do not",
        "the share of negative rows that do is larger by 0.5 than that of positive rows, and no other history is of "
        "positive rows",
        "check which value of the label is a click; of a history of refused items, accept the finding",
    ),
    "label_shift": Check(
        "error",
        "label rates that differ between splits, or between tenths of the time of train",
        "a warning: a factor of 1.5 between splits, 2 over time, beyond 5 standard errors; an error: the rate of the "
        "negatives of train",
        "check late labels at the end of the log, and whether the splits are drawn alike",
    ),
    "label_relation": Check(
        "error",
        "labels of a later split that the values of train do not predict, though they predict those of train: flipped "
        "or misjoined labels",
        "AUC of the label rates of train's values below 0.5, or a warning: less than half of the lift above 0.5 "
        "that they have in train, beyond 4 standard errors",
        "look how the labels of this split are made",
    ),
    "split_shift": Check(
        "error",
        "a column distributed otherwise in a later split than in train",
        "a warning: as for drift; an error: half of the values far outside their range in train, or 99 % missing where "
        "train has most of them",
        "check how the splits are cut",
    ),
    "split_order": Check(
        "warning",
        "train rows later than the first rows of a later split, or rows of a later split that are not later than train",
        "0.1 % to 50 % of the rows of train, 1 % to 50 % of the later split; more is reported as no split by time",
        "split by time: a model is asked about later events than it has learned from",
    ),
    "time_unit": Check(
        "warning",
        "times that look like another unit than seconds since 1970",
        "all times plausible in the other unit alone",
        "give times in seconds since 1970, UTC",
    ),
    "constant": Check(
        "warning", "a feature with hardly more than one value", "one value in 99.5 % of train", "leave the feature out"
    ),
    "almost_empty": Check(
        "warning", "a feature whose value is nearly always missing", "99 % missing", "leave the feature out, or join it"
    ),
    "cardinality": Check(
        "warning",
        "an id feature with about as many ids as rows, or as elements of its lists",
        "one id for each two of them or fewer",
        "set a frequency_threshold, top_k or hash_buckets for its vocabulary, or drop it",
    ),
    "unseen_ids": Check(
        "warning",
        "users, items or other ids of a later split that train does not have",
        "20 % of its rows, of users and items; a warning from 95 % on, unless splits are by it and not by time",
        "expected for splits by user and for fresh items; else check how the splits are cut",
    ),
    "candidate_order": Check(
        "leak",
        "requests whose order of candidates, or of rows, tells the label: clicks first, or last",
        "mean AUC of a request of at least 0.95; a warning from 0.9 on, and of rows",
        "do not let a model or a metric see the order of the file; shuffle the candidates",
    ),
    "position": Check(
        "info",
        "label rates that depend on the position at which an item was shown; a warning where the position, or a number "
        "in the same order, is a feature",
        "a factor of 1.2 between the first and the last positions; a rank correlation of 0.95",
        "keep the position out of the served inputs, or treat it as bias (docs/duet.md)",
    ),
}


@dataclass(frozen=True)
class Finding:
    """Something that the audit found.

    Args:
      check: name of the check.
      grade: how bad it is.
      column: at fault; empty: none in particular.
      message: what was found, with its figures.
      figure: what was measured.
      threshold: from which on it is a finding.
      example: a value or row that shows it.
    """

    check: str
    grade: Grade
    column: str
    message: str
    figure: float
    threshold: float
    example: str = ""

    @property
    def key(self) -> str:
        """Name by which it is accepted: `check:column`, or `check` alone."""
        return f"{self.check}:{self.column}" if self.column else self.check

    @property
    def remedy(self) -> str:
        return CHECKS[self.check].remedy

    def line(self) -> str:
        """The finding as one line: a reason for a refusal."""
        example = f" (e.g. {self.example})" if self.example else ""
        return f"{self.key}: {self.message}{example}. Fix: {self.remedy}; or accept {self.key!r} if it is known"


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Args:
      source, record: of the dataset.
      dataset_sha256: what was looked at.
      examples: rows, or shown candidates, by split.
      share: of the users whose records were read.
      findings: the gravest first.
      baseline: what it was compared with; empty: nothing.
      accepted: keys of findings that the dataset's declaration accepts.
    """

    source: str
    record: str
    dataset_sha256: str
    examples: Mapping[str, int]
    share: float
    findings: tuple[Finding, ...] = ()
    baseline: str = ""
    accepted: tuple[str, ...] = field(default=())

    def stopping(self, modes: Mapping[str, Mode] | None = None) -> list[Finding]:
        """The findings that stop a pipeline: of grade leak or error, neither accepted nor set to report.

        Args:
          modes: by check or `check:column`; the latter goes before. `stop` also stops at a warning.
        """
        modes = modes or {}
        stopping = []
        for finding in self.findings:
            mode = modes.get(finding.key, modes.get(finding.check))
            grave = finding.grade in STOPPING or (mode == "stop" and finding.grade == "warning")
            if grave and mode in (None, "stop") and not {finding.key, finding.check} & set(self.accepted):
                stopping.append(finding)
        return stopping

    def without(self, modes: Mapping[str, Mode]) -> "Audit":
        """The audit without what is set to `off`."""
        kept = tuple(one for one in self.findings if modes.get(one.key, modes.get(one.check)) != "off")
        return replace(self, findings=kept)

    def count(self, grade: Grade) -> int:
        return sum(finding.grade == grade for finding in self.findings)

    def summary(self) -> str:
        """One line: how many findings of each grade."""
        counts = [(self.count(grade), grade) for grade in GRADES]
        parts = [f"{count} {grade if count == 1 or grade == 'info' else grade + 's'}" for count, grade in counts]
        return f"audit of {sum(self.examples.values()):,} examples: " + ", ".join(parts)

    def to_json(self, modes: Mapping[str, Mode] | None = None) -> dict[str, Any]:
        """The audit as JSON values; `stops` as `stopping` says."""
        return {
            **asdict(self),
            "findings": [{**asdict(one), "key": one.key, "remedy": one.remedy} for one in self.findings],
            "counts": {grade: self.count(grade) for grade in GRADES},
            "stops": [one.key for one in self.stopping(modes)],
        }


def check_keys(keys: Iterable[str], where: str) -> None:
    """Refuses names that no finding can have.

    Raises:
      InputError: a key is neither a check nor `check:column`.
    """
    for key in keys:
        name = key.partition(":")[0]
        if name not in CHECKS:
            raise InputError(
                where, repr(key), f"`check` or `check:column`, of {', '.join(CHECKS)}", nearest(name, CHECKS)
            )
