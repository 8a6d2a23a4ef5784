"""Functions of a request's tensors in the served graph: checked, with errors that name the input; lists as lists.

A server may pad each input of a batch in every dimension but the first, with the input's own first value. What is
padding is therefore said by numbers, one for each row: the lengths of lists and the counts of candidates. What a client
leaves out has a default without rows, and a server that joins requests refuses one whose inputs have unequal numbers of
rows: so only requests that say what is padding are joined.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import tensorflow as tf

from transforms.features import CANDIDATE, UNKNOWN_LENGTH, Column, RecordKind
from transforms.ops import is_real
from transforms.schema import tf_dtype


class TensorFunction:
    """A function of the columns of a request, to be served.

    Columns that are not `required` may be left out, and are missing then.

    Args:
      columns: raw columns. A list `[B, N]`, and the mask `candidate` `[B, M]`, has its lengths beside it, int64 `[B]`,
        or `[0]` if left out; see `with_lengths`.
      record: the record kind whose shapes they have.
      answer: takes the columns by name, lists as `tf.RaggedTensor`, and the options; gives the outputs.
      max_candidates: of a request; None is no limit.
      options: further inputs by name, that may be left out: what is sent, and the default.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        record: RecordKind,
        answer: Callable[[dict[str, Any]], Any],
        max_candidates: int | None = None,
        options: Mapping[str, tuple[tf.TensorSpec, tf.Tensor]] | None = None,
    ):
        self._columns, self._record, self._answer = tuple(columns), record, answer
        self._max_candidates = max_candidates
        self._specs: dict[str, tf.TensorSpec] = {}
        self._more_specs: dict[str, tf.TensorSpec] = {}
        self._defaults: dict[str, tf.Tensor] = {}
        for column in columns:
            shape = column.shape(record)
            spec = tf.TensorSpec(shape.sizes(None, None, None, column.width), tf_dtype(column), name=column.name)
            if column.required or column.name == CANDIDATE:
                self._specs[column.name] = spec
            else:
                self._more_specs[column.name] = spec
                self._defaults[column.name] = tf.zeros(shape.sizes(0, 0, 0, column.width), spec.dtype)
            if column.has_lengths:
                name = column.lengths.name
                self._more_specs[name] = tf.TensorSpec([None], tf.int64, name=name)
                self._defaults[name] = tf.zeros([0], tf.int64)
        for name, (spec, default) in (options or {}).items():
            self._more_specs[name], self._defaults[name] = spec, default

    @cached_property
    def traced(self) -> Any:
        """The concrete function of columns and of what may be left out, traced once."""

        def function(raw: dict[str, tf.Tensor], more: dict[str, tf.Tensor]) -> Any:
            inputs = {**raw, **more}
            columns = checked(inputs, self._columns, self._record, self._max_candidates)
            return self._answer({**inputs, **columns})

        signature = [self._specs, self._more_specs]
        return tf.function(function, input_signature=signature, autograph=False).get_concrete_function()

    @property
    def outputs(self) -> Any:
        """Specs of the outputs by name."""
        return self.traced.structured_outputs

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        """The answer to the inputs of a request; the same computation that is served."""
        raw = {name: tf.convert_to_tensor(inputs[name], spec.dtype) for name, spec in self._specs.items()}
        more = {
            name: tf.convert_to_tensor(inputs[name], spec.dtype) if name in inputs else self._defaults[name]
            for name, spec in self._more_specs.items()
        }
        return self.traced(raw, more)

    def signature(self) -> Any:
        """For `tf.saved_model.save`, with defaults for what may be left out."""
        traced, defaults = self.traced, self._defaults

        # The saver finds defaults at functions alone, which it traces again: this one is nothing but a call.
        @tf.function(input_signature=[self._specs, self._more_specs], autograph=False)
        def signature(raw: dict[str, tf.Tensor], more: dict[str, tf.Tensor] = defaults) -> Any:
            return traced(raw, more)

        return signature


def as_lists(column: Column, values: tf.Tensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """A list column of a request as the lists that it holds.

    Args:
      column: that it is.
      values: `[B, N]`.
      lengths: int64 `[B]`; `UNKNOWN_LENGTH` takes missing markers at the end for padding, and those before it for
        missing elements.
    """
    real = tf.reshape(is_real(tf.reshape(values, [-1])), tf.shape(values))
    places = tf.range(1, tf.shape(values, tf.int64)[1] + 1)
    # The maximum over no element is the least integer.
    last = tf.maximum(tf.reduce_max(tf.where(real, places, 0), axis=1), 0)
    return tf.RaggedTensor.from_tensor(values, tf.where(lengths == UNKNOWN_LENGTH, last, lengths))


Check = tuple[tf.Tensor, Callable[[], tf.Tensor]]
"""A boolean tensor, True if valid, and a function that returns the message if not."""


def all_valid(usual: tf.Tensor, checks: Callable[[], Sequence[Check]]) -> tf.Tensor:
    """Ends the call with the words of the first check that is not passed.

    Args:
      usual: True for requests that pass for sure; for others alone the checks are worked out.
      checks: returns them.
    """

    def check() -> tf.Tensor:
        done: list[tf.Operation] = []
        for valid, message in checks():
            with tf.control_dependencies(done):
                words = tf.cond(valid, lambda: tf.constant(""), message)
                done = [tf.debugging.Assert(valid, [words])]
        with tf.control_dependencies(done):
            return tf.constant(True)

    return tf.cond(usual, lambda: tf.constant(True), check)


def checked(
    inputs: Mapping[str, tf.Tensor], columns: Sequence[Column], record: RecordKind, max_candidates: int | None
) -> dict[str, Any]:
    """Returns the columns of a request once they have passed; otherwise the call ends with INVALID_ARGUMENT.

    What was left out has a missing marker for each row and candidate; lists are `tf.RaggedTensor`; `candidate` is 0
    from each row's count on.

    Args:
      inputs: the tensors of a request by name, with lengths and counts.
      columns: its columns.
      record: the record kind whose shapes they have.
      max_candidates: None is no limit.
    """
    sizes = _Sizes(inputs, columns, record)
    complete: dict[str, Any] = {}
    with tf.control_dependencies([all_valid(sizes.usual(max_candidates), lambda: sizes.checks(max_candidates))]):
        absent = sizes.absent()
        for column in columns:
            value = tf.identity(inputs[column.name])
            if column.required or column.name == CANDIDATE:
                complete[column.name] = value
                continue
            # Passes on what has the shape already, which is all that was sent.
            marker = tf.constant(column.marker, value.dtype)
            complete[column.name] = tf.pad(value, absent[column.name], constant_values=marker)
            complete[column.name].set_shape(value.shape)
        for column in sizes.counted:
            values, lengths = complete[column.name], sizes.lengths(column)
            if column.variable_length:
                complete[column.name] = as_lists(column, values, lengths)
            else:
                sent = tf.range(sizes.candidates) < tf.where(lengths < 0, sizes.candidates, lengths)[:, tf.newaxis]
                complete[column.name] = values * tf.cast(sent, values.dtype)
    return complete


class _Sizes:
    """The numbers of rows and of candidates of a request's inputs; what was left out has none of either.

    Args:
      inputs: tensors by name.
      columns, record: as in `checked`.
    """

    def __init__(self, inputs: Mapping[str, tf.Tensor], columns: Sequence[Column], record: RecordKind):
        self._inputs, self._columns, self._names = inputs, columns, [column.name for column in columns]
        self.counted = [column for column in columns if column.has_lengths]
        self._offered = [column.name for column in columns if column.shape(record).per_candidate]
        dimensions = tf.concat([tf.shape(inputs[column.name], tf.int64) for column in columns], axis=0)
        starts, end = {}, 0
        for column in columns:
            starts[column.name], end = end, end + inputs[column.name].shape.rank
        self._rows = tf.gather(dimensions, list(starts.values()))
        self.rows = tf.reduce_max(self._rows)
        second = [column.name for column in columns if column.variable_length or column.name in self._offered]
        places = tf.gather(dimensions, [starts[name] + 1 for name in second]) if second else self._rows[:0]
        self._second = dict(zip(second, tf.unstack(places, num=len(second)), strict=True))
        ends = [starts[name] + 1 if name in second else starts[name] for name in self._names]
        self._second_or_none = tf.gather(dimensions, ends)
        self.candidates = self._second.get(CANDIDATE, tf.constant(0, tf.int64))
        if record == "request":
            self.rows = dimensions[starts[CANDIDATE]]
        # Of lengths and counts: those of all inputs one after the other, and of each the input that it belongs to.
        each = [inputs[column.lengths.name] for column in self.counted]
        self._values = tf.concat(each, axis=0) if each else self._rows[:0]
        self._numbers = tf.stack([tf.size(one, tf.int64) for one in each]) if each else self._rows[:0]

    def absent(self) -> dict[str, tf.Tensor]:
        """Returns what each column lacks of rows, candidates and so on, as `tf.pad` takes it: 0 for what was sent."""
        rows = self.rows - self._rows
        lacking = tf.stack([rows, tf.zeros_like(rows), tf.zeros_like(rows)], axis=1)
        if CANDIDATE in self._offered:
            offered = tf.constant([name in self._offered for name in self._names], tf.int64)
            candidates = (self.candidates - self._second_or_none) * offered
            lacking = tf.stack([rows, candidates, tf.zeros_like(rows)], axis=1)
        paddings = tf.stack([tf.zeros_like(lacking), lacking], axis=2)
        result: dict[str, tf.Tensor] = {}
        for rank in (1, 2, 3):
            # Together for all columns of a rank, as each operation takes its time.
            names = [name for name in self._names if self._inputs[name].shape.rank == rank]
            if names:
                places = [self._names.index(name) for name in names]
                result |= dict(
                    zip(names, tf.unstack(tf.gather(paddings[:, :rank], places), num=len(names)), strict=True)
                )
        return result

    def lengths(self, column: Column) -> tf.Tensor:
        """Returns the lengths of a column `[rows]`, unknown ones where they were left out."""
        sent = self._inputs[column.lengths.name]
        unknown = tf.fill([tf.maximum(self.rows - tf.size(sent, tf.int64), 0)], tf.constant(UNKNOWN_LENGTH, tf.int64))
        return tf.concat([sent, unknown], axis=0)[: self.rows]

    def _widths(self) -> tf.Tensor:
        """The widths of the inputs whose lengths these are, one for each length."""
        return tf.repeat(tf.stack([self._second[column.name] for column in self.counted]), self._numbers)

    def usual(self, max_candidates: int | None) -> tf.Tensor:
        """True if every input was sent for every row and candidate, lengths perhaps not, and all values are valid."""
        passed = [tf.reduce_all(self._rows == self.rows)]
        if self.counted:
            passed.append(tf.reduce_all((self._numbers == self.rows) | (self._numbers == 0)))
            passed.append(tf.reduce_all((self._values >= UNKNOWN_LENGTH) & (self._values <= self._widths())))
        if CANDIDATE in self._offered:
            passed.append(tf.reduce_all(tf.stack([self._second[name] for name in self._offered]) == self.candidates))
            mask = self._inputs[CANDIDATE]
            passed.append(tf.reduce_all(mask * mask == mask))
            if max_candidates is not None:
                passed.append(self.candidates <= max_candidates)
        return tf.reduce_all(tf.stack(passed))

    def checks(self, max_candidates: int | None) -> list[Check]:
        """Returns what must hold, in order: later checks count on earlier ones."""
        checks = [self._of_rows()]
        if self.counted:
            checks.append(self._of_lengths())
        return checks + (self._of_candidates(max_candidates) if CANDIDATE in self._offered else [])

    def _of_rows(self) -> Check:
        """All inputs hold equally many records, or were left out."""
        names = [column.name for column in self._columns] + [column.lengths.name for column in self.counted]
        # A single unknown length stands for all records.
        first = [tf.reduce_max(self._inputs[column.lengths.name]) for column in self.counted]
        for_all = (self._numbers == 1) & (tf.stack(first) == UNKNOWN_LENGTH) if first else tf.zeros([0], tf.bool)
        optional = tf.constant([not column.required and column.name != CANDIDATE for column in self._columns])
        left_out = tf.concat([(self._rows == 0) & optional, for_all | (self._numbers == 0)], axis=0)
        received = tf.concat([self._rows, self._numbers], axis=0)

        def words() -> tf.Tensor:
            # What most inputs have; if only one differs, it is the one to name.
            sent = tf.sort(tf.boolean_mask(received, ~left_out))
            expected = sent[tf.size(sent) // 2]
            wrong = tf.where((received != expected) & ~left_out)[:, 0]
            return tf.strings.join(
                [
                    "input ", _joined(tf.gather(names, wrong)), ": received batch size ",
                    _joined(tf.gather(received, wrong)), "; expected ", tf.strings.as_string(expected),
                    ", that of the other inputs; give each record a value in every input",
                ]
            )  # fmt: skip

        return tf.reduce_all((received == self.rows) | left_out), words

    def _of_lengths(self) -> Check:
        """Lengths are within the widths of their lists."""
        names, widths = [column.lengths.name for column in self.counted], self._widths()
        wrong = (self._values < UNKNOWN_LENGTH) | (self._values > widths)

        def words() -> tf.Tensor:
            first = tf.where(wrong)[:1, 0]
            owner = tf.gather(tf.repeat(tf.range(len(names)), self._numbers), first)
            return tf.strings.join(
                [
                    "input ", _joined(tf.gather(names, owner)),
                    ": received ", _joined(tf.gather(self._values, first)),
                    "; expected 0 to ", _joined(tf.gather(widths, first)), ", the width of the list, or ",
                    f"{UNKNOWN_LENGTH} for one that ends before its last missing markers",
                ]
            )  # fmt: skip

        return ~tf.reduce_any(wrong), words

    def _of_candidates(self, max_candidates: int | None) -> list[Check]:
        mask, names = tf.reshape(self._inputs[CANDIDATE], [-1]), [one for one in self._offered if one != CANDIDATE]
        numbers = tf.stack([self.candidates, *(self._second[name] for name in names)])[1:]
        rows = tf.gather(self._rows, [self._names.index(name) for name in names]) if names else numbers
        left_out = (rows == 0) & (numbers == 0)

        def unlike() -> tf.Tensor:
            other = tf.where((numbers != self.candidates) & ~left_out)[:, 0]
            return tf.strings.join(
                [
                    "candidates: received shapes [B, M] with M ", _joined(tf.gather(numbers, other)),
                    " of ", _joined(tf.gather(tf.constant([*names, ""]), other)), "; expected [B, M] of all with M ",
                    tf.strings.as_string(self.candidates), f", as {CANDIDATE} has; complete them",
                ]
            )  # fmt: skip

        def no_mask() -> tf.Tensor:
            received = _joined(tf.boolean_mask(mask, (mask != 0) & (mask != 1))[:1])
            expected = "; expected 1 for a candidate and 0 for padding; correct it"
            return tf.strings.join([f"input {CANDIDATE}: received ", received, expected])

        def many() -> tf.Tensor:
            expected = f"; expected at most {max_candidates}; send the others in another request, or ask the signature "
            received = tf.strings.as_string(self.candidates)
            return tf.strings.join(["candidates: received ", received, expected, "'serving_default'"])

        checks: list[Check] = [
            (tf.reduce_all((numbers == self.candidates) | left_out), unlike),
            (tf.reduce_all((mask == 0) | (mask == 1)), no_mask),
        ]
        return checks if max_candidates is None else [*checks, (self.candidates <= max_candidates, many)]


def _joined(values: tf.Tensor) -> tf.Tensor:
    """Names or numbers `[n]` as one text."""
    return tf.strings.reduce_join(values if values.dtype == tf.string else tf.strings.as_string(values), separator=", ")
