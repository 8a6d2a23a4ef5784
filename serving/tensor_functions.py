"""Functions of a request's tensors: what every signature on plain tensors takes, checked, and its lists as lists."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import tensorflow as tf

from serving.request_checks import checked
from transforms.features import UNKNOWN_LENGTH, Column, RecordKind, Shape
from transforms.ops.missing import is_real
from transforms.schema import tf_dtype

_SIZES = {Shape.SCALAR: [None], Shape.RAGGED: [None, None], Shape.CANDIDATES: [None, None]}


class TensorFunction:
    """A function of the columns of a request, to be served.

    Args:
      columns: raw columns. A list `[B, N]` has its lengths beside it, int64 `[B]`, or `[1]` -1, as if left out; see
        `with_lengths`.
      record: the record kind whose shapes they have.
      answer: takes the columns by name, lists as `tf.RaggedTensor`, and the options; gives the outputs.
      most_candidates: of a request; None is no limit.
      options: further inputs by name, that may be left out: what is sent, and the default.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        record: RecordKind,
        answer: Callable[[dict[str, Any]], Any],
        most_candidates: int | None = None,
        options: Mapping[str, tuple[tf.TensorSpec, tf.Tensor]] | None = None,
    ):
        self._columns, self._record, self._answer = tuple(columns), record, answer
        self._most_candidates = most_candidates
        lengths = {column.lengths.name: column for column in columns if column.variable_length}
        self._specs = {c.name: tf.TensorSpec(_SIZES[c.shape(record)], tf_dtype(c), name=c.name) for c in columns}
        self._more_specs = {name: tf.TensorSpec([None], tf.int64, name=name) for name in lengths}
        self._defaults = {name: tf.constant([UNKNOWN_LENGTH], tf.int64) for name in lengths}
        for name, (spec, default) in (options or {}).items():
            self._more_specs[name], self._defaults[name] = spec, default

    @cached_property
    def traced(self) -> Any:
        """The concrete function of columns and of what may be left out, traced once."""

        def function(raw: dict[str, tf.Tensor], more: dict[str, tf.Tensor]) -> Any:
            lists = [column for column in self._columns if column.variable_length]
            raw, lengths = checked(raw, more, self._columns, self._record, self._most_candidates)
            found = raw | {column.name: as_lists(column, raw[column.name], lengths[column.name]) for column in lists}
            return self._answer({**more, **found})

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
