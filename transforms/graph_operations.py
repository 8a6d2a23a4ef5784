"""What the graph of a SavedModel may do: compute, and nothing that reaches out of TensorFlow.

A SavedModel is a program. Among TensorFlow's operations some read and write files, talk to other machines, or run
Python or compiled code. No export of Consort holds one, so a graph that does is refused before it is loaded. The
check needs no TensorFlow.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from transforms.errors import InputError

GRAPH = "saved_model.pb"
_SPLIT_GRAPH = "saved_model.cpb"
_OUTSIDE = re.compile(
    r"""
      PyFunc | PyFuncStateless | EagerPyFunc                                                    # Python
    | Xla(CustomCall(V2)?|CallModule|HostCompute.*) | _XlaHostCompute.* | MlirPassthroughOp     # compiled code
    | _?TPU(Compile|Execute).* | TRTEngineOp | (Create|Initialize|Serialize)TRTResource.*
    | (Read|Write)File | MatchingFiles | RecordInput | Skipgram | FixedUnigramCandidateSampler  # files
    | (WholeFile|TextLine|TFRecord|FixedLengthRecord|LMDB|Identity)Reader(V2)?
    | (Experimental)?(CSV|TextLine|TFRecord|FixedLengthRecord|LMDB|Sql|MatchingFiles|Load|Save|Cache)Dataset(V\d)?
    | (Experimental)?DatasetToTFRecord | \w*Snapshot\w*(Dataset|Chunks|Reader)\w* | DistributedSave
    | Save | SaveSlices | Restore | RestoreSlice | DTensorRestoreV2 | GenerateVocabRemapping | LoadAndRemapMatrix
    | ImmutableConst | DecodeProtoV2 | EncodeProto | FileSystemSetConfiguration
    | CreateSummary(File|Db)Writer | DumpTensor | Debug(Identity|NanCount|NumericSummary)(V\d)?
    | Rpc\w* | DeleteRpcFutureResource | (Experimental)?DataService\w* | RegisterDataset(V2)? | RemoteCall  # network
    | Abort
    """,
    re.VERBOSE,
)
_CHECKPOINT = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints"})
"""By these a SavedModel saves and restores itself; loading restores, and nothing that is served may do either."""

_FIELDS = {
    "SavedModel": [("meta_graphs", 2, "MetaGraph")],
    "MetaGraph": [
        ("graph", 2, "Graph"), ("saver", 3, "Saver"), ("collections", 4, "CollectionEntry"),
        ("signatures", 5, "SignatureEntry"), ("objects", 7, "Objects"),
    ],
    "Saver": [("restore", 3, "")],
    "CollectionEntry": [("collection", 2, "Collection")],
    "Collection": [("node_list", 1, "Names")],
    "Names": [("names", 1, "*")],
    "SignatureEntry": [("name", 1, ""), ("signature", 2, "Signature")],
    "Signature": [("inputs", 1, "TensorEntry"), ("outputs", 2, "TensorEntry")],
    "TensorEntry": [("name", 1, ""), ("tensor", 2, "Tensor")],
    "Tensor": [("name", 1, "")],
    "Objects": [("functions", 2, "FunctionEntry")],
    "FunctionEntry": [("name", 1, "")],
    "Graph": [("nodes", 1, "Node"), ("library", 2, "Library")],
    "Library": [("functions", 1, "Function")],
    "Function": [("signature", 1, "FunctionSignature"), ("nodes", 3, "Node")],
    "FunctionSignature": [("name", 1, "")],
    "Node": [("name", 1, ""), ("op", 2, ""), ("inputs", 3, "*"), ("attributes", 5, "AttributeEntry")],
    "AttributeEntry": [("name", 1, ""), ("value", 2, "Attribute")],
    "Attribute": [("list", 1, "Attributes"), ("text", 2, ""), ("function", 10, "FunctionName")],
    "Attributes": [("functions", 9, "FunctionName")],
    "FunctionName": [("name", 1, ""), ("attributes", 2, "AttributeEntry")],
}  # fmt: skip
"""The parts of `tensorflow.SavedModel` that are looked at: name, number and message of each field; "" and "*" are
bytes, once and repeated. On the wire a map is a repeated entry. Names of the fields are ours."""
_SINGLE = frozenset(
    {
        "graph",
        "saver",
        "objects",
        "signature",
        "tensor",
        "library",
        "value",
        "list",
        "function",
        "collection",
        "node_list",
    }
)


def check_saved_model(directory: str | os.PathLike[str]) -> None:
    """Looks whether a SavedModel's graph holds nothing but what computes.

    A folder without a readable `saved_model.pb` is left to the loader, which says what is missing.

    Raises:
      InputError: an operation reaches out of TensorFlow; one that reads or writes checkpoints is run by more
        than restoring the variables; or the graph stands in a second file, which would be loaded instead.
    """
    folder = Path(directory)
    if (folder / _SPLIT_GRAPH).exists():
        raise _refused(folder / _SPLIT_GRAPH, "a graph in pieces, which TensorFlow loads in place of the other")
    try:
        saved = _message().FromString((folder / GRAPH).read_bytes())
    except (OSError, DecodeError):
        return
    for graph in saved.meta_graphs:
        for violation in _violations(graph):
            raise _refused(folder / GRAPH, violation)


def _refused(path: Path, received: str) -> InputError:
    expected = "a graph that computes and touches no file, network, Python or compiled code"
    return InputError(
        str(path), received, expected, "do not load it; get the model from whom you trust, or export anew"
    )


def _violations(meta_graph: Any) -> Iterator[str]:
    functions = {_text(function.signature.name): function for function in meta_graph.graph.library.functions}
    for place, nodes in (("the graph", meta_graph.graph.nodes), *((name, f.nodes) for name, f in functions.items())):
        for node in nodes:
            op = _text(node.op)
            if _OUTSIDE.fullmatch(op) or (op == "PrintV2" and _prints_to_file(node)):
                yield f"the operation {op} in {place}"
    yield from _checkpoint_offences(meta_graph, functions)


def _checkpoint_offences(meta_graph: Any, functions: dict[str, Any]) -> Iterator[str]:
    """Uses of the checkpoint's operations by what loading or a request runs, beyond restoring the variables."""
    reached = _checkpoint_operations(functions)
    nodes = {_text(node.name): node for node in meta_graph.graph.nodes}
    outputs = [_node_of(output.tensor.name) for entry in meta_graph.signatures for output in entry.signature.outputs]
    initial = [_node_of(name) for entry in meta_graph.collections for name in entry.collection.node_list.names]
    served, restoring = _sources(nodes, outputs + initial), _sources(nodes, [_node_of(meta_graph.saver.restore)])
    for name, node in nodes.items():
        used = {_text(node.op)} & _CHECKPOINT
        used = used.union(*(reached.get(function, set()) for function in _called(node)))
        if name in served and used:
            yield f"the operation {min(used)} behind {name}, which a signature or the start runs"
        elif name in restoring and used - {"RestoreV2"}:
            yield f"the operation {min(used - {'RestoreV2'})} behind {name}, which restoring the variables runs"
    for entry in meta_graph.objects.functions:
        if operations := reached.get(_text(entry.name)):
            yield f"the operation {min(operations)} in the function {_text(entry.name)}"


def _checkpoint_operations(functions: dict[str, Any]) -> dict[str, set[str]]:
    """For each function the checkpoint's operations that it, or one that it calls, holds; none where there are none."""
    called = {name: set().union(*map(_called, function.nodes)) for name, function in functions.items()}
    reached = {name: names & _CHECKPOINT for name, names in called.items() if names & _CHECKPOINT}
    changed = True
    while changed:
        changed = False
        for name, names in called.items():
            more = set().union(*(reached.get(other, set()) for other in names))
            if more - reached.get(name, set()):
                reached[name] = reached.get(name, set()) | more
                changed = True
    return reached


def _sources(nodes: dict[str, Any], start: list[str]) -> set[str]:
    """Names of these nodes and of all on which they depend."""
    names, waiting = set(), start
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in names:
            names.add(name)
            waiting = waiting + [_node_of(source) for source in nodes[name].inputs]
    return names


def _called(node: Any) -> set[str]:
    """Functions that a node may call: by its operation's name, or by an attribute."""
    called, waiting = {_text(node.op)}, [entry.value for entry in node.attributes]
    while waiting:
        value = waiting.pop()
        for function in (value.function, *value.list.functions):
            called.add(_text(function.name))
            waiting += [entry.value for entry in function.attributes]
    return called


def _prints_to_file(node: Any) -> bool:
    streams = [_text(e.value.text) for e in node.attributes if _text(e.name) == "output_stream"]
    return any("file:" in stream for stream in streams)


def _node_of(tensor: bytes) -> str:
    return _text(tensor).removeprefix("^").partition(":")[0]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _message() -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName("consort.graph.SavedModel"))


def _build_pool() -> descriptor_pool.DescriptorPool:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="consort/graph.proto", package="consort.graph", syntax="proto3")
    for message, fields in _FIELDS.items():
        declared = file.message_type.add(name=message)
        for name, number, kind in fields:
            label = kinds.LABEL_OPTIONAL if kind == "" or name in _SINGLE else kinds.LABEL_REPEATED
            field = declared.field.add(name=name, number=number, label=label)
            field.type = kinds.TYPE_BYTES if kind in ("", "*") else kinds.TYPE_MESSAGE
            if field.type == kinds.TYPE_MESSAGE:
                field.type_name = f".consort.graph.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _build_pool()
