"""What is computed of a log, and in which order: one shuffle for each distinct key.

The log is a PCollection of Arrow tables (and of InputErrors, which are passed on). Their columns:

  timestamp   int64, the moment of the event; the unit is up to the reader and that of `lag` and `within`
  _file, _row int64, the place of a row: no two rows have the same; they break ties of order, never of time
  _record     bool, optional: false for rows that are events of histories and counters but no records
  _known      int64, optional: when others can know of the event; default: `timestamp`
  _identity   int64, optional: equal for rows that a random split must not part; default: the place of the row
  ...         keys (strings or integers), features, and a bool column for each condition

A chunk may lack columns; its rows have nulls there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from transforms.arrow import pa
from transforms.batches import Batch, ItemBatch
from transforms.errors import InputError
from transforms.features import Split
from transforms.sources.point_in_time.splits import SplitRule

TIME, KNOWN, FILE, ROW, RECORD, REQUEST_ID = "timestamp", "_known", "_file", "_row", "_record", "request_id"
KEY_COLUMN = "_key"


@dataclass(frozen=True)
class History:
    """The last values of a column in the earlier events of a key, most recent last.

    Events known at the same moment as the row or later are left out, so that a row never sees itself. Events of one
    moment are in order of `_file` and `_row`. A row without a key has an empty history.

    Args:
      output: name of the new column, a list.
      of: the column.
      per: the columns that make the key.
      where: a bool column: only rows where it is true are events; None: all.
      last: values kept.
      lag: an event becomes known this much later.
    """

    output: str
    of: str
    per: tuple[str, ...] = ("user_id",)
    where: str | None = None
    last: int = 50
    lag: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.of, *self.per, *([self.where] if self.where else []))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns that it adds."""
        return (self.output,)


@dataclass(frozen=True)
class Count:
    """The number of earlier events of a key; 0 for a row without a key. Events are those of `History`.

    Args:
      output: name of the new column, int64.
      per: the columns that make the key.
      where: a bool column: only rows where it is true are events; None: all.
      lag: an event becomes known this much later.
      within: count only events of this much time before the row; None: all.
    """

    output: str
    per: tuple[str, ...]
    where: str | None = None
    lag: int = 0
    within: int | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (*self.per, *([self.where] if self.where else []))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns that it adds."""
        return (self.output,)


@dataclass(frozen=True)
class Join:
    """Columns of another table, null where it has no row.

    The table is a PCollection of Arrow tables with the key's columns, of the same types as those of the log, the
    `columns`, `_file` and `_row`, and `timestamp` if `timed`.

    Args:
      table: name of the PCollection.
      per: the columns of the log that make the key.
      key: the same columns in the table; default: of the same names.
      columns: what is added.
      timed: take the latest row strictly before the event, one of each key and time; otherwise each key stands in one.
      place: names a row of the table in a message, from its `_file` and `_row`.
      called: the key's columns in a message; default: their names.
      may_repeat: a row may stand twice, as long as it says the same.
    """

    table: str
    per: tuple[str, ...]
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    timed: bool = False
    place: Callable[[int, int], str] = "file {}, row {}".format
    called: str = ""
    may_repeat: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of the log that it reads."""
        return self.per

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns that it adds."""
        return self.columns

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The key's columns in the table."""
        return self.key or self.per


@dataclass(frozen=True)
class Once:
    """Refuses a row whose columns, with the key, stand in an earlier row.

    Args:
      per: the columns that make the key.
      columns: the others.
      refusal: makes the error from `_file`, `_row` and the values of `columns`, then of `per`.
    """

    per: tuple[str, ...]
    columns: tuple[str, ...]
    refusal: Callable[..., InputError]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (*self.per, *self.columns)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns that it adds: none."""
        return ()


@dataclass(frozen=True)
class Kept:
    """A table of items that the dataset keeps, beside the records that it is joined to.

    Args:
      table: name of the PCollection.
      key: its column of the item's id; rows without one are left out.
      finish: makes the batch of a shard from rows in order of time.
      timed: the table has times.
      shards: in which its rows are cut, by item.
    """

    table: str
    key: str
    finish: Callable[[pa.Table], ItemBatch]
    timed: bool = False
    shards: int = 1


Operation: TypeAlias = History | Count | Join | Once
Finish: TypeAlias = Callable[[pa.Table, Split], Iterable[Batch]]
"""Makes batches of the rows of a shard, which are in order; histories are lists."""


@dataclass(frozen=True)
class Requests:
    """Rows with one `request_id` are one request: they share its split, its shard and its time, that of the first.

    Args:
      scattered: rows of a request may stand in several chunks, or have several times.
    """

    scattered: bool = True


@dataclass(frozen=True)
class Plan:
    """What is computed of a log.

    Args:
      operations: histories, counters, joins and checks; one may read what another adds.
      split: which split a record is of.
      finish: makes batches.
      requests: how rows make requests; None: each row is a record.
      partitions: parts in which each key's rows are computed; one is in memory at once.
      shard_rows: rows of a shard, about.
      events_first: most rows are no records: they are dropped before tables are joined, where order allows it.
      kept: tables of items that the dataset keeps.
    """

    operations: tuple[Operation, ...]
    split: SplitRule
    finish: Finish
    requests: Requests | None = None
    partitions: int = 8
    shard_rows: int = 50_000
    events_first: bool = False
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True)
class Stage:
    """Operations of one key: one shuffle. `joins` come first."""

    per: tuple[str, ...]
    joins: tuple[Join, ...]
    events: tuple[History | Count | Once, ...]


def stages(operations: Sequence[Operation], events_first: bool = False) -> list[Stage]:
    """Puts operations into an order in which each finds its columns, with few shuffles.

    Args:
      operations: of a plan.
      events_first: histories come early; otherwise late, so that they do not travel.

    Raises:
      ValueError: operations wait for one another.
    """

    def preference(ready: Sequence[Operation], per: tuple[str, ...]) -> tuple[bool, ...]:
        complete = bool(ready) and len(ready) == sum(item.per == per for item in pending)
        return bool(ready), complete, any(isinstance(item, History) for item in ready) == events_first

    pending, done = list(operations), list[Stage]()
    while pending:
        options = [(_runnable(pending, per), per) for per in dict.fromkeys(item.per for item in pending)]
        if not any(ready for ready, _ in options):
            raise ValueError(f"operations wait for one another: {', '.join(str(item.outputs) for item in pending)}")
        ready, per = max(options, key=lambda option: preference(*option))
        joins = tuple(item for item in ready if isinstance(item, Join))
        done.append(Stage(per, joins, tuple(item for item in ready if not isinstance(item, Join))))
        pending = [item for item in pending if item not in ready]
    return done


def _runnable(pending: Sequence[Operation], per: tuple[str, ...]) -> list[Operation]:
    """Those of one key whose columns are there: of the log, of earlier stages, or of joins of this one."""
    ready: list[Operation] = []
    for item in sorted((item for item in pending if item.per == per), key=lambda item: not isinstance(item, Join)):
        made = [other for other in pending if other is not item and set(other.outputs) & set(item.inputs)]
        if all(other in ready and isinstance(other, Join) for other in made):
            ready.append(item)
    return ready
