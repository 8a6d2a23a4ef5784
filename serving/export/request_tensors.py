"""Functions of a request's tensors in the served graph: checked, with errors that name the input; lists as lists."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import tensorflow as tf

from transforms.features import CANDIDATE, UNKNOWN_LENGTH, Column, RecordKind
from transforms.ops import is_real
from transforms.schema import tf_dtype


class TensorFunction:
    """A function of the columns of a request, to be served.

    Args:
      columns: raw columns. A list `[B, N]` has its lengths beside it, int64 `[B]`, or `[1]` -1, as if left out; see
        `with_lengths`.
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
        lengths = {column.lengths.name: column for column in columns if column.variable_length}
        sizes = {c.name: c.shape(record).sizes(None, None, None, c.width) for c in columns}
        self._specs = {c.name: tf.TensorSpec(sizes[c.name], tf_dtype(c), name=c.name) for c in columns}
        self._more_specs = {name: tf.TensorSpec([None], tf.int64, name=name) for name in lengths}
        self._defaults = {name: tf.constant([UNKNOWN_LENGTH], tf.int64) for name in lengths}
        for name, (spec, default) in (options or {}).items():
            self._more_specs[name], self._defaults[name] = spec, default

    @cached_property
    def traced(self) -> Any:
        """The concrete function of columns and of what may be left out, traced once."""

        def function(raw: dict[str, tf.Tensor], more: dict[str, tf.Tensor]) -> Any:
            lists = [column for column in self._columns if column.variable_length]
            raw, lengths = checked(raw, more, self._columns, self._record, self._max_candidates)
            ragged = raw | {column.name: as_lists(column, raw[column.name], lengths[column.name]) for column in lists}
            return self._answer({**more, **ragged})

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


def checked(
    raw: Mapping[str, tf.Tensor],
    more: Mapping[str, tf.Tensor],
    columns: Sequence[Column],
    record: RecordKind,
    max_candidates: int | None,
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """The same tensors, once they have passed; otherwise the call ends with INVALID_ARGUMENT.

    Args:
      raw: the tensors of a request, by column.
      more: the lengths of its lists among others, `[B]`; or `[1]`, -1, for all.
      columns: its columns.
      record: the record kind whose shapes they have.
      max_candidates: None is no limit.

    Returns:
      The tensors by column; and the lengths `[B]` by the list's column.
    """
    shapes = {name: tf.shape(value, tf.int64) for name, value in raw.items()}
    lists = [column for column in columns if column.variable_length]
    lengths = {column.name: more[column.lengths.name] for column in lists}
    checks = _lists(lists, lengths, shapes) if lists else [_batch_sizes(shapes, {}, tf.zeros([0], tf.bool))]
    if record == "request":
        candidates = [c.name for c in columns if c.shape(record).per_candidate and c.name != CANDIDATE]
        mask = raw[CANDIDATE]
        checks += _candidates({name: shapes[name] for name in candidates}, shapes[CANDIDATE], mask, max_candidates)
    with tf.control_dependencies([all_valid(checks)]):
        tensors = {name: tf.identity(value) for name, value in raw.items()}
        batch = next(iter(shapes.values()))[:1]
        return tensors, {name: tf.broadcast_to(value, batch) for name, value in lengths.items()}


def all_valid(checks: Sequence[Check]) -> tf.Tensor:
    """Ends the call with the words of the first check that is not passed.

    The words are made only then.
    """

    def refuse() -> tf.Tensor:
        done: list[tf.Operation] = []
        for valid, message in checks:
            with tf.control_dependencies(done):
                done = [tf.debugging.Assert(valid, [message()])]
        with tf.control_dependencies(done):
            return tf.constant(False)

    return tf.cond(tf.reduce_all(tf.stack([valid for valid, _ in checks])), lambda: tf.constant(True), refuse)


def _first(wrong: tf.Tensor) -> tf.Tensor:
    """Returns the place of the first True, `[1]`; `[0]` without any, as messages are built for valid inputs, too."""
    return tf.where(wrong)[:1, 0]


def _joined(values: tf.Tensor) -> tf.Tensor:
    """Names or numbers `[n]` as one text."""
    return tf.strings.reduce_join(values if values.dtype == tf.string else tf.strings.as_string(values), separator=", ")


def _batch_sizes(shapes: Mapping[str, tf.Tensor], more: Mapping[str, tf.Tensor], for_all: tf.Tensor) -> Check:
    """All inputs must hold equally many records.

    Args:
      shapes: of inputs, by name.
      more: batch sizes of further inputs, by name.
      for_all: bool, of each of these whether its one value stands for all records.
    """
    names, sizes = tf.constant([*shapes, *more]), tf.stack([shape[0] for shape in shapes.values()])
    others = tf.stack(list(more.values())) if more else sizes[:0]

    def words() -> tf.Tensor:
        # What most inputs have; if only one differs, it is the one to name.
        expected = tf.sort(sizes)[len(shapes) // 2]
        counted = tf.concat([sizes, tf.where(for_all, expected, others)], axis=0)
        wrong = tf.where(counted != expected)[:, 0]
        return tf.strings.join(
            [
                "input ", _joined(tf.gather(names, wrong)), ": received batch size ",
                _joined(tf.gather(counted, wrong)), "; expected ", tf.strings.as_string(expected),
                ", that of the other inputs; give each record a value in every input",
            ]
        )  # fmt: skip

    return tf.reduce_all(sizes == sizes[0]) & tf.reduce_all((others == sizes[0]) | for_all), words


def _lists(lists: Sequence[Column], lengths: Mapping[str, tf.Tensor], shapes: Mapping[str, tf.Tensor]) -> list[Check]:
    """Equally many records, and lengths within the widths of the lists."""
    sizes = tf.concat([tf.shape(lengths[column.name], tf.int64) for column in lists], axis=0)
    every = tf.concat([lengths[column.name] for column in lists], axis=0)
    owners = tf.repeat(tf.range(len(lists)), sizes)
    # One unknown length stands for all records, as in the default.
    unknown = tf.math.unsorted_segment_max(every, owners, len(lists)) == UNKNOWN_LENGTH
    names = [column.lengths.name for column in lists]
    widths = tf.gather(tf.stack([shapes[column.name][1] for column in lists]), owners)
    wrong = (every < UNKNOWN_LENGTH) | (every > widths)

    def words() -> tf.Tensor:
        first = _first(wrong)
        return tf.strings.join(
            [
                "input ", _joined(tf.gather(names, tf.gather(owners, first))),
                ": received ", _joined(tf.gather(every, first)),
                "; expected 0 to ", _joined(tf.gather(widths, first)), ", the width of the list, or ",
                f"{UNKNOWN_LENGTH} for one that ends before its last missing markers",
            ]
        )  # fmt: skip

    batch_sizes = _batch_sizes(shapes, dict(zip(names, tf.unstack(sizes, num=len(lists)))), unknown & (sizes == 1))
    return [batch_sizes, (~tf.reduce_any(wrong), words)]


def _candidates(
    shapes: Mapping[str, tf.Tensor], mask: tf.Tensor, values: tf.Tensor, max_candidates: int | None
) -> list[Check]:
    numbers = tf.stack([mask[1], *(shape[1] for shape in shapes.values())])

    def unlike() -> tf.Tensor:
        other = tf.where(numbers != mask[1])[:, 0]
        names = _joined(tf.gather(tf.constant([CANDIDATE, *shapes]), other))
        return tf.strings.join(
            [
                "candidates: received shapes [B, M] with M ", _joined(tf.gather(numbers, other)),
                " of ", names, "; expected [B, M] of all with M ", tf.strings.as_string(mask[1]),
                f", as {CANDIDATE} has; complete them",
            ]
        )  # fmt: skip

    def no_mask() -> tf.Tensor:
        every = tf.reshape(values, [-1])
        received = _joined(tf.gather(every, _first((every != 0) & (every != 1))))
        expected = "; expected 1 for a candidate and 0 for padding; correct it"
        return tf.strings.join([f"input {CANDIDATE}: received ", received, expected])

    def many() -> tf.Tensor:
        expected = f"; expected at most {max_candidates}; send the others in another request, or ask the signature "
        return tf.strings.join(["candidates: received ", tf.strings.as_string(mask[1]), expected, "'serving_default'"])

    checks: list[Check] = [
        (tf.reduce_all(numbers == mask[1]), unlike),
        (tf.reduce_all((values == 0) | (values == 1)), no_mask),
    ]
    if max_candidates is not None:
        checks.append((mask[1] <= max_candidates, many))
    return checks
