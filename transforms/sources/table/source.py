"""The source of a declared log."""

import os
from pathlib import Path, PurePath
from typing import Any, ClassVar

from transforms.features import FeatureSet, RecordKind
from transforms.records import Items
from transforms.sources.base import Source
from transforms.sources.table.declaration import Declaration
from transforms.sources.table.files import find_files
from transforms.sources.table.first_look import check
from transforms.sources.table.load import load_declaration
from transforms.sources.table.read import ReadLog
from transforms.sources.table.schema import feature_set_of, items_of


class TableSource(Source):
    """Anyone's log, as a declaration describes it; see docs/table.md.

    Args:
      declaration: its files are relative to the `input_dir` of `check`, `read` and `origin`.
    """

    name: ClassVar[str] = "table"
    summary: ClassVar[str] = "your own log: consort data import LOG.yaml"
    licence: ClassVar[str] = "yours"
    where: ClassVar[str] = "docs/own_logs.md"
    records: ClassVar[tuple[RecordKind, ...]] = ("row", "request")

    def __init__(self, declaration: Declaration):
        super().__init__()
        self.declaration = declaration
        # Datasets carry the name of the log.
        vars(self).update(name=declaration.name, records=declaration.record_kinds)

    def feature_set(self) -> FeatureSet:
        return feature_set_of(self.declaration)

    def item_tables(self) -> Items | None:
        return items_of(self.declaration)

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        check(self.declaration, Path(input_dir))

    def read(self, input_dir: str | os.PathLike[str]) -> Any:
        return ReadLog(self.declaration, Path(input_dir))

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        """Returns the declaration, without folders outside its own, and the files that were read."""
        declared = self.declaration.model_dump(mode="json", exclude_defaults=True)
        files = {}
        for name, part in {"": self.declaration, **self.declaration.tables}.items():
            section = declared["tables"][name] if name else declared
            section["files"] = [_without_folder(pattern) for pattern in part.files]
            if part.format != "bigquery":
                files[name or "log"] = [_without_folder(file.name) for file in find_files(part, input_dir)]
        return {"source": self.name, "declaration": declared, "files": files}


def table_source(path: str | os.PathLike[str]) -> TableSource:
    """Returns the source that a declaration file describes; its `input_dir` is the file's folder.

    Raises:
      InputError: the declaration is wrong.
    """
    return TableSource(load_declaration(path))


def _without_folder(pattern: str) -> str:
    outside = os.path.isabs(pattern) or ".." in PurePath(pattern).parts
    return PurePath(pattern).name if outside else pattern
