"""Checks that a version's folder is complete, before TensorFlow reads it.

TensorFlow loads a SavedModel without its variables and leaves every call to fail, and reads as much of a vocabulary as
has been copied so far.
"""

import os
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from serving.protocol import BundleHeaderProto, SavedModel

_GRAPH, _OTHER_GRAPHS = "saved_model.pb", ("saved_model.pbtxt", "saved_model.cpb")
_TAG = "serve"
_INDEX = "variables/variables.index"
_TABLE_END = (0xDB4775248B80FB57).to_bytes(8, "little")
"""The last bytes of a table file, which is what the index of the variables is."""

State = tuple[tuple[str, int, int, int], ...]


def missing_part(directory: str | os.PathLike[str]) -> str | None:
    """What a SavedModel needs and its folder does not hold yet; None if nothing is missing.

    A graph that cannot be read is none of this function's business: loading it gives the reason.
    """
    folder = Path(directory)
    if not (folder / _GRAPH).is_file():
        return None if any((folder / name).is_file() for name in _OTHER_GRAPHS) else _GRAPH
    try:
        saved = SavedModel.FromString((folder / _GRAPH).read_bytes())
    except DecodeError:
        return None
    graph = next((graph for graph in saved.meta_graphs if _TAG in graph.meta_info_def.tags), None)
    if graph is None:
        return None
    needed = [os.path.join("assets", asset.filename) for asset in graph.asset_file_def]
    needed += _variables(folder) if graph.saver_def.restore_op_name else []
    return next((name for name in needed if not (folder / name).exists()), None)


def _variables(folder: Path) -> list[str]:
    """The index of the variables and the files that it names."""
    path = folder / _INDEX
    if not path.is_file():
        return [_INDEX]
    content = path.read_bytes()
    if not content.endswith(_TABLE_END):
        return [f"{_INDEX} (its end)"]
    number = _shards(content)
    return [_INDEX, *(f"variables/variables.data-{shard:05d}-of-{number:05d}" for shard in range(number))]


def _shards(index: bytes) -> int:
    """The number of files that hold the variables, which is in the table's first value; its key is empty.

    An entry is the length of the key's part that it shares with the key before, that of the rest, and that of the
    value. All three fit into a byte here; 0 is returned where the table begins in another way.
    """
    shared, rest, length = index[:3]
    if shared or rest or length > 127:
        return 0
    try:
        header: Any = BundleHeaderProto.FromString(index[3 : 3 + length])
    except DecodeError:
        return 0
    return int(header.num_shards)


def folder_state(directory: str | os.PathLike[str]) -> State:
    """Names, sizes and times of all in a folder: it differs whenever something in it has changed."""
    state = []
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            try:
                stat = os.stat(path)
            except OSError:
                continue
            state.append((os.path.relpath(path, directory), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(sorted(state))


def age_s(state: State, now_s: float) -> float:
    """Seconds since the last change in a folder.

    Args:
      state: of `folder_state`.
      now_s: `time.time()`.
    """
    return now_s - max((changed for *_, changed in state), default=0) / 1e9
