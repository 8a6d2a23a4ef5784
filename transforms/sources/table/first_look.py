"""The first look at the files of a log, before anything is written: are they there, and have they the columns?"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from transforms.arrow import pq
from transforms.errors import InputError
from transforms.features import SPLITS
from transforms.import_path import nearest
from transforms.sources.table.bigquery import check_name
from transforms.sources.table.declaration import Declaration, Table
from transforms.sources.table.files import LogFile, chunks_of, find_files, opened
from transforms.sources.table.formats import LOOK_BYTES, column_names, member
from transforms.sources.table.log_columns import LogColumns, table_columns


def check(declaration: Declaration, folder: Path) -> None:
    """Looks at the files before anything is written: present, not empty, with the columns that are declared.

    Raises:
      InputError: what is wrong; also a question of the declaration that is not answered.
    """
    if declaration.questions:
        fix = "answer it in the declaration, then delete it from questions"
        raise InputError(f"{declaration.name}, key 'questions'", repr(declaration.questions[0]), "no question", fix)
    columns = LogColumns(declaration)
    _check_files(declaration, folder, columns.wanted, columns.required)
    if declaration.splits.by == "files":
        _check_split_files(declaration, [file.name for file in find_files(declaration, folder)])
    for name, table in declaration.tables.items():
        times = {table.timestamp.column} if table.timestamp else set()
        _check_files(table, folder, table_columns(name, table), {*table.key, *times})


def _check_files(files: Declaration | Table, folder: Path, wanted: dict[str, str], required: set[str]) -> None:
    if files.format == "bigquery":
        for name in files.files:
            check_name(name)
        return
    names_of = {}
    for file in find_files(files, folder):
        chunks_of(file, files.csv)
        names_of[file] = column_names(file, files.csv)
    if "csv" in files.model_fields_set and not any(file.format in ("csv", "tsv") for file in names_of):
        first = next(iter(names_of))
        expected = "a CSV or TSV file, as csv says its dialect"
        raise InputError(first.name, f"a {first.format} file", expected, "leave csv out, or set format")
    names_of = {file: names for file, names in names_of.items() if names} or names_of  # Without records all lack.
    for file, names in names_of.items():
        _check_once(file, names, wanted, [feature.column or "" for feature in files.features.values()])
    check_columns(names_of, wanted, required)
    for name, feature in files.features.items():
        pattern = feature.column or name
        if "*" in pattern and not any(fnmatch(one, pattern) for names in names_of.values() for one in names):
            first, names = next(iter(names_of.items()))
            received = f"no columns {pattern!r} (features.{name})"
            raise InputError(first.name, received, f"some of {', '.join(names)}", nearest(pattern, names))


def _check_split_files(declaration: Declaration, names: Sequence[str]) -> None:
    """Refuses a split by files that would leave a split of the declaration without any."""
    where, rest = f"{declaration.name}, key 'splits.values", set(names)
    for split, patterns in declaration.splits.values.items():
        for pattern in patterns:
            matches = {name for name in names if fnmatch(name, str(pattern))}
            rest -= matches if split != SPLITS[0] else set()
            if not matches:
                expected = f"a pattern of {', '.join(names[:5])}" + (" and others" if len(names) > 5 else "")
                raise InputError(f"{where}.{split}'", f"{pattern!r}, which no file matches", expected, "correct it")
    if not rest:
        raise InputError(f"{where}'", "patterns of all files", "a file that is left for train", "name fewer of them")


def _check_once(file: LogFile, names: Sequence[str], wanted: Mapping[str, str], patterns: Sequence[str]) -> None:
    """Refuses columns of equal names, if the declaration asks for them."""
    for name, count in Counter(names).items():
        if count > 1 and (name in wanted or any("*" in pattern and fnmatch(name, pattern) for pattern in patterns)):
            fix = "rename one of them in the first line of the file, or in csv.columns"
            raise InputError(file.name, f"two columns {name!r}", "each name once", fix)


def check_columns(
    names_of: Mapping[LogFile, Sequence[str]], wanted: Mapping[str, str], required: Collection[str]
) -> None:
    """Refuses columns that no file has, and columns of every record that some file does not have.

    Args:
      names_of: the columns of each file, as `column_names` returns them.
      wanted: keys of the declaration by the columns that they name.
      required: columns that no record may lack; other ones are missing values where a file does not have them.

    Raises:
      InputError: a column is missing; the nearest one is named.
    """
    for column, key in wanted.items():
        top = column.partition(".")[0]
        lacking = [file for file, names in names_of.items() if not _has(file, names, column)]
        if not lacking or (column not in required and len(lacking) < len(names_of)):
            continue
        # The first records do not show what later ones may have.
        lacking = [file for file in lacking if not _may_have(file, top)]
        if not lacking or (column not in required and len(lacking) < len(names_of)):
            continue
        names = list(names_of[lacking[0]])
        others = f" and {len(lacking) - 1} more files" if len(lacking) > 1 else ""
        expected = f"one of {', '.join(names)}"
        raise InputError(
            f"{lacking[0].name}{others}", f"no column {column!r} ({key})", expected, nearest(column, names)
        )


def _has(file: LogFile, names: Sequence[str], column: str) -> bool:
    if column in names:
        return True
    top = column.partition(".")[0]
    if file.format != "parquet" or "." not in column:
        return top in names
    with opened(file) as stream:
        schema = pq.ParquetFile(stream).schema_arrow
    return top in names and member(schema.empty_table(), column) is not None


def _may_have(file: LogFile, name: str) -> bool:
    """True if the name stands anywhere in a file whose records say their columns one by one."""
    if file.format == "jsonl":
        written = [json.dumps(name).encode(), json.dumps(name, ensure_ascii=False).encode()]
    elif file.format == "tfrecord":
        written = [name.encode()]
    else:
        return False
    before = b""
    with opened(file) as stream:
        while block := stream.read(LOOK_BYTES):
            if any(text in before + block for text in written):
                return True
            before = block[-max(map(len, written)) :]
    return False
