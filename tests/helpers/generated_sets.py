"""Feature sets and records that nobody thought of: all encodings, lists with holes, rows and requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from transforms.batches import Batch, Ragged
from transforms.features import (
    ID_ENCODINGS,
    TIME_ENCODINGS,
    Column,
    Encoding,
    Feature,
    FeatureSet,
    RecordKind,
    Split,
    Vocabulary,
)

LIST_SIZE, RECORDS, LONGEST, SEVERAL = 5, 12, 9, 3
_LISTS_OF_NUMBERS = 2
_MISSING: dict[str, Any] = {"string": b"", "int64": -1, "float": np.nan}
_TYPES: dict[str, Any] = {"string": object, "int64": np.int64, "float": np.float32}


@dataclass(frozen=True)
class Generated:
    """A feature set and what its records are drawn from.

    Args:
      feature_set: declared.
      record: their kind.
      seed: of the records.
    """

    feature_set: FeatureSet
    record: RecordKind
    seed: int


@st.composite
def generated_sets(
    draw: st.DrawFn, record: RecordKind, encodings: Sequence[Encoding], ids_in_lists: bool = True
) -> Generated:
    """Ids, several ids, and numbers in each of some encodings, two of them in lists; two lists of ids, if any."""
    seed = draw(st.integers(0, 2**16))
    # Hypothesis begins with the plainest of all.
    assume(seed > 0)
    encodings = draw(st.permutations(encodings))
    lengths = st.sampled_from([None, 1, 3, LONGEST + 2])
    columns: list[Column] = []
    features = [
        Feature(name="user_id", encoding=Encoding.ID),
        Feature(name="item_id", encoding=Encoding.ID, vocabulary="items"),
    ]
    entities: st.SearchStrategy[Any] = st.sampled_from(["user", "context", "item"])
    pooling = draw(st.sampled_from(["sum", "mean", "max"]))
    columns.append(Column(name="several", dtype="string", entity=draw(entities), width=SEVERAL))
    features.append(Feature(name="several", encoding=Encoding.ID, vocabulary="items", pooling=pooling))
    if not ids_in_lists:
        # Those of lists stand first.
        encodings = sorted(encodings, key=lambda encoding: encoding in ID_ENCODINGS)
    for place, encoding in enumerate(encodings):
        name, is_list = f"number_{place}", place < _LISTS_OF_NUMBERS and encoding is not Encoding.VECTOR
        if encoding is Encoding.VECTOR:
            for scaling in (Encoding.VECTOR, Encoding.ZSCORE):
                vector = f"{name}_{scaling.value}"
                columns.append(Column(name=vector, dtype="float", entity=draw(entities), width=SEVERAL))
                features.append(Feature(name=vector, encoding=scaling))
            continue
        whole = encoding in TIME_ENCODINGS or draw(st.booleans())
        entity = draw(st.sampled_from(["user", "item"]) if is_list else entities)
        limit = draw(lengths) if is_list else None
        dtype = "int64" if whole else "float"
        high = 1_000_000 if encoding in TIME_ENCODINGS else 100
        columns.append(
            Column(
                name=name, dtype=dtype, entity=entity, variable_length=is_list, max_length=limit,
                min_value=-high, max_value=high,
            )
        )  # fmt: skip
        features.append(Feature(name=name, encoding=encoding, num_buckets=3))
    lists = (("list_items", "string", "items"), ("list_tags", "int64", "tags")) if ids_in_lists else ()
    for name, dtype, vocabulary in lists:
        columns.append(Column(name=name, dtype=dtype, entity="user", variable_length=True, max_length=draw(lengths)))
        features.append(Feature(name=name, encoding=Encoding.ID, vocabulary=vocabulary))
    tags = (
        Vocabulary(name="tags", hash_buckets=5)
        if draw(st.booleans())
        else Vocabulary(name="tags", prefix=draw(st.booleans()))
    )
    vocabularies: tuple[Vocabulary, ...] = (
        Vocabulary(name="items", frequency_threshold=draw(st.integers(1, 3)), num_oov_buckets=2),
    )
    vocabularies += (tags,) if ids_in_lists else ()
    size = LIST_SIZE if record == "request" else None
    found = FeatureSet(columns=tuple(columns), features=tuple(features), vocabularies=vocabularies, list_size=size)
    return Generated(found, record, seed)


def records_of(made: Generated, split: Split) -> Batch:
    """Records with a list that has holes, an empty one, one of missing elements, and the longest one, then any.

    Labels tell the records apart.
    """
    random = np.random.default_rng([made.seed, len(split)])
    lengths = [4, 0, 3, LONGEST, *random.integers(0, LONGEST, RECORDS - 4).tolist()]
    real = np.minimum(random.integers(1, LIST_SIZE + 1, RECORDS), LIST_SIZE)
    candidate = (np.arange(LIST_SIZE) < real[:, np.newaxis]).astype(np.int64)
    values: dict[str, Any] = {}
    for column in made.feature_set.columns_of(made.record):
        if column.variable_length:
            flat = _values(column, sum(lengths), random, 0.4)
            ends = np.cumsum([0, *lengths])
            flat[ends[2] : ends[3]] = _MISSING[column.dtype]
            # The last element is missing, and one before it is none.
            flat[ends[1] - 1], flat[ends[0]] = _MISSING[column.dtype], _values(column, 1, random, 0.0)[0]
            values[column.name] = Ragged(flat, ends)
            continue
        shape = column.shape(made.record).sizes(RECORDS, LIST_SIZE, None, column.width)
        values[column.name] = _values(column, int(np.prod(shape)), random, 0.2).reshape(shape)
    values["request_id"] = np.array([b"r%d" % place for place in range(RECORDS)], object)
    values["timestamp"] = 86_400 * np.arange(RECORDS) * 5 + random.integers(0, 86_400, RECORDS)
    values["label"] = np.linspace(0.0, 1.0, RECORDS, dtype=np.float32)
    if made.record == "request":
        values["label"] = np.repeat(values["label"][:, np.newaxis], LIST_SIZE, axis=1)
        values["candidate"] = values["exposed"] = candidate
    return Batch(made.record, split, values)


def as_json(made: Generated, batch: Batch, names: Sequence[str], record: int | None = None) -> dict[str, Any]:
    """Raw values as a client has them: null for what is missing, lists of any lengths, candidates without padding.

    Args:
      made: what the batch was drawn from.
      batch: of `records_of`.
      names: of the columns.
      record: this one alone; None: all, candidates with padding.
    """
    chosen = range(len(batch)) if record is None else [record]
    found: dict[str, Any] = {}
    for name in names:
        values = batch.columns[name]
        if isinstance(values, Ragged):
            offsets = values.offsets
            found[name] = [_listed(values.values[offsets[place] : offsets[place + 1]]) for place in chosen]
        elif name == "candidate":
            found[name] = [values[place].tolist() for place in chosen]
        else:
            found[name] = [_listed(values[place]) for place in chosen]
            if made.feature_set.column(name).width is not None:
                found[name] = _shortened(found[name])
    if record is not None and "candidate" in found:
        count = sum(found["candidate"][0])
        wide = {name for name in names if made.feature_set.column(name).shape(made.record).per_candidate}
        found = {name: [values[0][:count]] if name in wide else values for name, values in found.items()}
    return found


def _shortened(values: list[Any]) -> list[Any]:
    """Returns lists of lists without the nulls at the end of the innermost ones."""
    if any(isinstance(one, list) for one in values):
        return [_shortened(one) for one in values]
    kept = max((place for place, one in enumerate(values, 1) if one is not None), default=0)
    return values[:kept]


def _listed(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return [_listed(one) for one in values]
    if isinstance(values, bytes):
        return values.decode() or None
    return None if values == -1 or values != values else values.item()


def _values(column: Column, count: int, random: np.random.Generator, missing: float) -> np.ndarray:
    if column.dtype == "string":
        found = np.array([b"i%d" % one for one in random.integers(0, 8, count)] + [None], object)[:-1]
    elif column.dtype == "int64":
        found = random.integers(0, int(column.max_value or 8), count)
    else:
        found = random.uniform(column.min_value or -1.0, column.max_value or 1.0, count).astype(np.float32)
    found[random.random(count) < missing] = _MISSING[column.dtype]
    return found.astype(_TYPES[column.dtype])
