"""The Beam transform: tables in, shards out. Rows travel in parts of many rows, never one by one."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from transforms.arrow import pa
from transforms.batches import Batch, ItemBatch
from transforms.beam.counting import Counter, ImportCounts
from transforms.beam.options import PartOptions
from transforms.errors import InputError
from transforms.features import SPLITS
from transforms.sources.point_in_time.batches_of import REQUEST
from transforms.sources.point_in_time.compute import compute, with_request_times
from transforms.sources.point_in_time.keys import key_codes, key_hashes
from transforms.sources.point_in_time.parts import Part, PartStore, Reference
from transforms.sources.point_in_time.plan import FILE, RECORD, REQUEST_ID, ROW, TIME, Kept, Plan, Stage, stages
from transforms.sources.point_in_time.splits import ByTime, Layout, TimeCounts

LOG = "log"
_ERRORS, _MAIN = "errors", "main"
Counted: TypeAlias = dict[int, TimeCounts]
Sent: TypeAlias = tuple[int, tuple[str, Reference]]
Received: TypeAlias = tuple[int, Iterable[tuple[str, Reference]]]


class PointInTime(beam.PTransform):
    """Computes a plan: from PCollections of Arrow tables to the shards of a dataset.

    Input: a dictionary of `log` and of the tables that are joined, by name; see `plan`. An InputError among the tables
    is passed on.

    Output: a tuple of PCollections for `import_dataset`: the first has `(shard name, Batch)`, those after it
    `(shard name, ItemBatch)` of each table that is kept, the others errors.

    Args:
      plan: what to compute.
    """

    def __init__(self, plan: Plan):
        super().__init__()
        self._plan, self._errors = plan, list[PCollection]()

    def expand(self, inputs: Any) -> Any:  # Beam warns of any narrower type of several PCollections.
        self._errors, plan = [], self._plan
        folder = inputs[LOG].pipeline.options.view_as(PartOptions).parts_folder
        store, counts = PartStore(folder), ImportCounts(folder)
        log = parts = inputs[LOG] | "Read" >> beam.Map(_counted, counts.counter("read"))
        requests = plan.requests
        if requests is not None and requests.scattered:
            request = Stage((REQUEST_ID,), (), ())
            sent = self._do("SendRequests", parts, _Send(store, LOG, request.per, plan.partitions))
            parts = self._do("Requests", sent | "ByRequest" >> beam.GroupByKey(), _RequestTimes(store))
        layout, computed = self._layout(parts), stages(plan.operations, plan.events_first)
        if not computed:
            # The shards wait for the times of all rows.
            parts = self._do("Keep", parts, _Keep(store))
        for number, stage in enumerate(computed):
            name = f"{number}:{'+'.join(stage.per)}"
            records_only = not any(later.events for later in computed[number:])
            sent = [self._do(f"Send{name}", parts, _Send(store, LOG, stage.per, plan.partitions, records_only))]
            for join in stage.joins:
                send = _Send(store, join.table, join.key_columns, plan.partitions)
                sent.append(self._do(f"Send{name}:{join.table}", inputs[join.table], send))
            grouped = sent | f"Flatten{name}" >> beam.Flatten() | f"By{name}" >> beam.GroupByKey()
            parts = self._do(f"Compute{name}", grouped, _Compute(store, stage, counts.counter("computed")))
        counts.counter("stages").add(len(computed))
        sent = self._do("SendShards", parts, _SendToShards(store, plan, counts.counter("sent")), layout)
        finish = _Finish(store, plan, counts.counter("finished"))
        shards = self._do("Finish", sent | "ByShard" >> beam.GroupByKey(), finish, layout)
        kept = []
        for table in plan.kept:
            of_items = self._do(f"SendItems:{table.table}", inputs[table.table], _SendItems(store, table))
            grouped = of_items | f"Items:{table.table}" >> beam.GroupByKey()
            kept.append(self._do(f"KeepItems:{table.table}", grouped, _KeepItems(store, table)))
        # Errors of what is read are reported while the rest is read.
        read = [errors for errors in self._errors if errors.producer.inputs[0] in (log, *inputs.values())]
        late = [errors for errors in self._errors if errors not in read]
        return (shards, *kept, *read, late | "Errors" >> beam.Flatten())

    def _layout(self, parts: PCollection) -> AsSingleton:
        counted = (
            parts
            | "Times" >> beam.Map(_record_times, self._plan)
            | beam.CombineGlobally(_JoinCounts()).without_defaults()
        )
        return AsSingleton(counted | "Layout" >> beam.Map(_layout_of, self._plan))

    def _do(self, name: str, inputs: PCollection, work: beam.DoFn, *sides: Any) -> PCollection:
        outputs = inputs | name >> beam.ParDo(work, *sides).with_outputs(_ERRORS, main=_MAIN)
        self._errors.append(outputs[_ERRORS])
        return outputs[_MAIN]


class _Guarded(beam.DoFn):
    """Works with parts, and sends InputErrors, of the input and of its work, to the errors."""

    def __init__(self, store: PartStore):
        self._store = store

    def process(self, element: Any, *sides: Any) -> Iterator[Any]:
        error = next((one for one in (element, *sides) if isinstance(one, InputError)), None)
        try:
            if error is None:
                yield from self.work(element, *sides)
        except InputError as raised:
            error = raised
        if error is not None:
            yield TaggedOutput(_ERRORS, ("error", error))

    def work(self, element: Any, *sides: Any) -> Iterable[Any]:
        raise NotImplementedError

    def sent(self, table: str, part: Part, destination: np.ndarray) -> Iterator[Sent]:
        """Cuts a part by the destination of its rows."""
        order = np.argsort(destination, kind="stable")
        numbers, starts = np.unique(destination[order], return_index=True)
        pieces = zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)
        for number, reference in self._store.put((number, part.take(index)) for number, index in pieces):
            yield number, (table, reference)

    def received(self, element: Received) -> dict[str, Part]:
        """What was sent to one destination, by table."""
        parts: dict[str, list[Part]] = {}
        for table, reference in element[1]:
            parts.setdefault(table, []).append(self._store.get(reference))
        return {table: Part.joined(pieces) for table, pieces in parts.items()}


class _Keep(_Guarded):
    """Puts parts where they can wait."""

    def work(self, element: pa.Table | Part, *sides: Any) -> Iterator[Reference]:
        yield from (reference for _, reference in self._store.put([(0, _part(element))]))


class _Send(_Guarded):
    """Sends rows to the partition of their key."""

    def __init__(self, store: PartStore, table: str, per: tuple[str, ...], partitions: int, records_only: bool = False):
        super().__init__(store)
        self._table, self._per, self._partitions, self._records_only = table, per, partitions, records_only

    def work(self, element: pa.Table | Part, *sides: Any) -> Iterator[Sent]:
        part = _records(_part(element)) if self._records_only else _part(element)
        partition = key_hashes(part.rows, self._per) % np.uint64(self._partitions)
        yield from self.sent(self._table, part, partition.astype(np.int64))


class _RequestTimes(_Guarded):
    def work(self, element: Received, *sides: Any) -> Iterator[Part]:
        yield with_request_times(self.received(element)[LOG])


class _Compute(_Guarded):
    def __init__(self, store: PartStore, stage: Stage, counter: Counter):
        super().__init__(store)
        self._stage, self._counter = stage, counter

    def work(self, element: Received, *sides: Any) -> Iterator[Part]:
        received = self.received(element)
        if LOG in received:
            yield compute(received[LOG], self._stage, {name: part.rows for name, part in received.items()})
            self._counter.add(len(received[LOG]))


class _SendToShards(_Guarded):
    """Sends records to their shards."""

    def __init__(self, store: PartStore, plan: Plan, counter: Counter):
        super().__init__(store)
        self._plan, self._counter = plan, counter

    def work(self, element: Part | Reference, *sides: Any) -> Iterator[Sent]:
        part, layout = _records(element if isinstance(element, Part) else self._store.get(element)), sides[0]
        if not len(part):
            return
        rule, rows = self._plan.split, part.rows
        splits = None if isinstance(rule, ByTime) else rule(rows)
        hashes = key_hashes(rows, (REQUEST_ID,) if self._plan.requests else ())
        yield from self.sent(LOG, part, layout.pieces_of(rows[TIME].to_numpy(), splits, hashes))
        self._counter.add(len(part))


class _Finish(_Guarded):
    """Makes the batches of a shard."""

    def __init__(self, store: PartStore, plan: Plan, counter: Counter):
        super().__init__(store)
        self._plan, self._counter = plan, counter

    def work(self, element: Received, *sides: Any) -> Iterator[tuple[str, Batch]]:
        part = self.received(element)[LOG]
        row, file, time = (part.rows[name].to_numpy() for name in (ROW, FILE, TIME))
        split, name = sides[0].split_and_name(element[0])
        if self._plan.requests is None:
            rows = part.take(np.lexsort((row, file, time))).to_table()
        else:
            request = _request_numbers(part.rows, row, file, time)
            ordered = part.with_columns({REQUEST: request})
            rows = ordered.take(np.lexsort((row, file, request))).to_table()
        for batch in self._plan.finish(rows, SPLITS[split]):
            yield name, batch
        self._counter.add(len(part))


class _SendItems(_Guarded):
    """Sends the rows of a table of items to their shards."""

    def __init__(self, store: PartStore, table: Kept):
        super().__init__(store)
        self._table = table

    def work(self, element: pa.Table | Part, *sides: Any) -> Iterator[Sent]:
        part, key = _part(element), self._table.key
        part = part.take(np.flatnonzero(key_codes([(part.rows, (key,))])[0] >= 0))
        shard = key_hashes(part.rows, (key,)) % np.uint64(self._table.shards)
        yield from self.sent(self._table.table, part, shard.astype(np.int64))


class _KeepItems(_Guarded):
    """Makes the batch of a shard of items."""

    def __init__(self, store: PartStore, table: Kept):
        super().__init__(store)
        self._table = table

    def work(self, element: Received, *sides: Any) -> Iterator[tuple[str, ItemBatch]]:
        rows = self.received(element)[self._table.table].rows
        order = np.lexsort([rows[name].to_numpy() for name in (ROW, FILE, *([TIME] if self._table.timed else []))])
        yield f"{element[0]:06d}", self._table.finish(rows.take(pa.array(order)))


class _JoinCounts(beam.CombineFn):
    def create_accumulator(self) -> Counted:
        return {}

    def add_input(self, accumulator: Counted, element: Counted) -> Counted:
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Counted]) -> Counted:
        accumulators = list(accumulators)
        splits = sorted({split for counts in accumulators for split in counts})
        return {
            split: TimeCounts.joined(counts[split] for counts in accumulators if split in counts) for split in splits
        }

    def extract_output(self, accumulator: Counted) -> Counted:
        return accumulator


def _counted(element: pa.Table | InputError, counter: Counter) -> pa.Table | InputError:
    counter.add(0 if isinstance(element, InputError) else element.num_rows)
    return element


def _record_times(element: pa.Table | Part | InputError, plan: Plan) -> Counted:
    """The times of records by split number; of all under 0 if splits are by time."""
    if isinstance(element, InputError):
        return {}
    rows = _records(_part(element)).rows
    times = rows[TIME].to_numpy()
    splits = np.zeros(len(times), np.int64) if isinstance(plan.split, ByTime) else plan.split(rows)
    counts = {number: TimeCounts.of(times[splits == number]) for number in range(len(SPLITS))}
    return {number: count for number, count in counts.items() if count is not None}


def _layout_of(counts: Counted, plan: Plan) -> Layout | InputError:
    try:
        return Layout.of(counts, plan.split, plan.shard_rows)
    except InputError as error:
        return error


def _part(element: pa.Table | Part) -> Part:
    return element if isinstance(element, Part) else Part(element.combine_chunks())


def _records(part: Part) -> Part:
    """The rows that are records, without the column that says so."""
    if RECORD not in part.rows.column_names:
        return part
    chosen = part.rows[RECORD].combine_chunks().fill_null(False).to_numpy(zero_copy_only=False)
    records = part if chosen.all() else part.take(np.flatnonzero(chosen))
    return Part(records.rows.drop([RECORD]), records.events)


def _request_numbers(rows: pa.Table, row: np.ndarray, file: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Number of each row's request, in order of time and of the place of its first row."""
    codes = key_codes([(rows, (REQUEST_ID,))])[0]
    codes = np.where(codes < 0, codes.max(initial=-1) + 1 + np.arange(len(codes)), codes)
    order = np.lexsort((row, file, codes))
    first = order[np.diff(codes[order], prepend=-1) != 0]
    numbers = np.empty(int(codes.max(initial=-1)) + 1, np.int64)
    in_order = np.lexsort((row[first], file[first], time[first]))
    numbers[codes[first][in_order]] = np.arange(len(first))
    return numbers[codes]
