"""A SavedModel in a TensorFlow session, through the part of TensorFlow's C API that serves it, bound with ctypes.

It is the loader, the session and the status codes of TensorFlow Serving itself; calls release Python's lock.
"""

import ctypes
import functools
import importlib.util
import os
import threading
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any

from serving.protocol import CODES, ConfigProto, MetaGraphDef, RunOptions, ServingError, SignatureDef


class Buffer(ctypes.Structure):
    """`TF_Buffer`: bytes, which a Python object given here keeps alive, and their length."""

    _fields_ = [("data", c_char_p), ("length", c_size_t), ("deallocator", c_void_p)]


class Output(ctypes.Structure):
    """`TF_Output`: an operation and the number of its output."""

    _fields_ = [("operation", c_void_p), ("index", c_int)]


_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_NewStatus": (c_void_p, ()),
    "TF_DeleteStatus": (None, (c_void_p,)),
    "TF_GetCode": (c_int, (c_void_p,)),
    "TF_Message": (c_void_p, (c_void_p,)),
    "TF_NewBuffer": (POINTER(Buffer), ()),
    "TF_DeleteBuffer": (None, (POINTER(Buffer),)),
    "TF_NewGraph": (c_void_p, ()),
    "TF_DeleteGraph": (None, (c_void_p,)),
    "TF_GraphOperationByName": (c_void_p, (c_void_p, c_char_p)),
    "TF_OperationNumOutputs": (c_int, (c_void_p,)),
    "TF_NewSessionOptions": (c_void_p, ()),
    "TF_SetConfig": (None, (c_void_p, c_char_p, c_size_t, c_void_p)),
    "TF_DeleteSessionOptions": (None, (c_void_p,)),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        (c_void_p, POINTER(Buffer), c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p),
    ),
    "TF_CloseSession": (None, (c_void_p, c_void_p)),
    "TF_DeleteSession": (None, (c_void_p, c_void_p)),
    "TF_SessionRun": (
        None,
        (
            *(c_void_p, POINTER(Buffer)),
            *(POINTER(Output), POINTER(c_void_p), c_int),
            *(POINTER(Output), POINTER(c_void_p), c_int),
            *(c_void_p, c_int, c_void_p, c_void_p),
        ),
    ),
    "TF_AllocateTensor": (c_void_p, (c_int, c_void_p, c_int, c_size_t)),
    "TF_TensorFromProto": (None, (POINTER(Buffer), c_void_p, c_void_p)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_TensorType": (c_int, (c_void_p,)),
    "TF_NumDims": (c_int, (c_void_p,)),
    "TF_Dim": (c_int64, (c_void_p, c_int)),
    "TF_TensorData": (c_void_p, (c_void_p,)),
    "TF_TensorByteSize": (c_size_t, (c_void_p,)),
    "TF_StringGetDataPointer": (c_void_p, (c_void_p,)),
    "TF_StringGetSize": (c_size_t, (c_void_p,)),
    # C++: `void tensorflow::DisableXlaCompilation()`, what TensorFlow Serving calls at its start.
    "_ZN10tensorflow21DisableXlaCompilationEv": (None, ()),
}


@functools.cache
def library() -> Any:
    """The library of the installed TensorFlow, its functions typed."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("tensorflow is not installed")
    loaded = ctypes.CDLL(os.path.join(next(iter(spec.submodule_search_locations)), "libtensorflow_cc.so.2"))
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


_XLA_OFF = threading.Event()


def disable_xla() -> None:
    """Makes every XLA-compiled function of this process fail from now on, as TensorFlow Serving does by default."""
    library()._ZN10tensorflow21DisableXlaCompilationEv()
    _XLA_OFF.set()


def xla_is_disabled() -> bool:
    """Returns True if `disable_xla` has been called in this process."""
    return _XLA_OFF.is_set()


def content_of(buffer: Any) -> bytes:
    """A copy of the bytes that TensorFlow has put into a buffer; `buffer.data` would end at a zero byte."""
    return ctypes.string_at(ctypes.cast(buffer, POINTER(c_void_p))[0], buffer.contents.length)


def _message(status: c_void_p) -> bytes:
    """A status's text with all of its zero bytes, at the first of which C's functions end it.

    A `TF_Status` is a pointer to what absl keeps of it: a counter and a code of 4 bytes each, and then the text as
    C++'s pointer and length. They are read only where that pointer is the one that TensorFlow itself gives.
    """
    start = library().TF_Message(status)
    text = ctypes.string_at(start) if start else b""
    kept = (ctypes.cast(status, POINTER(c_size_t))[0] & ~1) if text else 0
    if not kept:
        return text
    pointer, length = ctypes.cast(kept + 8, POINTER(c_size_t))[0:2]
    return ctypes.string_at(start, length) if pointer == start and length >= len(text) else text


class Status:
    """A `TF_Status` for the length of a `with` block, at whose end an error is raised as a ServingError."""

    def __enter__(self) -> c_void_p:
        self._status = c_void_p(library().TF_NewStatus())
        return self._status

    def __exit__(self, kind: object, *_: object) -> None:
        tf = library()
        code = tf.TF_GetCode(self._status)
        message = _message(self._status).decode(errors="replace") if code else ""
        tf.TF_DeleteStatus(self._status)
        if code and kind is None:
            raise ServingError(CODES[code] if code < len(CODES) else "UNKNOWN", message)


class Tensor:
    """A `TF_Tensor`, freed with this object."""

    __slots__ = ("_free", "pointer")

    def __init__(self, pointer: int):
        self.pointer, self._free = pointer, library().TF_DeleteTensor

    def __del__(self) -> None:
        self._free(self.pointer)

    @classmethod
    def parse(cls, serialized: bytes) -> "Tensor":
        """The tensor that a serialized TensorProto holds, by TensorFlow's own parser.

        Raises:
          ServingError: INVALID_ARGUMENT for content that does not fit the shape, or no known dtype.
        """
        tf = library()
        tensor = cls(tf.TF_AllocateTensor(1, None, 0, 4))
        with Status() as status:
            tf.TF_TensorFromProto(Buffer(serialized, len(serialized), None), tensor.pointer, status)
        return tensor

    @property
    def dtype(self) -> int:
        """Its DataType's number."""
        return int(library().TF_TensorType(self.pointer))

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        tf = library()
        return tuple(tf.TF_Dim(self.pointer, axis) for axis in range(tf.TF_NumDims(self.pointer)))

    def content(self) -> bytes:
        """A copy of its bytes; not for strings."""
        tf = library()
        size = tf.TF_TensorByteSize(self.pointer)
        return ctypes.string_at(tf.TF_TensorData(self.pointer), size) if size else b""

    def strings(self) -> list[bytes]:
        """A copy of its elements; only for strings."""
        tf = library()
        start, size = tf.TF_TensorData(self.pointer), tf.TF_TensorByteSize(self.pointer)
        addresses = range(start or 0, (start or 0) + size, _STRING_BYTES)
        return [ctypes.string_at(tf.TF_StringGetDataPointer(a), tf.TF_StringGetSize(a)) for a in addresses]


_STRING_BYTES = 24
"""Size of a `TF_TString`."""


_SERVE_TAG = b"serve"


def session_config(inter_op_threads: int = 0, intra_op_threads: int = 0) -> bytes:
    """A serialized ConfigProto.

    Args:
      inter_op_threads: operations at a time; 0 lets TensorFlow choose.
      intra_op_threads: threads within one operation; 0 lets TensorFlow choose.
    """
    config = ConfigProto(inter_op_parallelism_threads=inter_op_threads, intra_op_parallelism_threads=intra_op_threads)
    # A laptop's GPU is also somebody else's.
    config.gpu_options.allow_growth = True
    serialized: bytes = config.SerializeToString()
    return serialized


class Session:
    """A loaded SavedModel: variables restored, tables filled; runs may be concurrent.

    Args:
      directory: a SavedModel with the tag `serve`.
      config: a serialized ConfigProto.

    Raises:
      ServingError: loading failed, with TensorFlow's code and message.
    """

    def __init__(self, directory: str | os.PathLike[str], config: bytes = b""):
        tf = library()
        self._graph = tf.TF_NewGraph()
        self._session: int | None = None
        self._outputs: dict[str, Output] = {}
        options = tf.TF_NewSessionOptions()
        meta_graph = tf.TF_NewBuffer()
        try:
            with Status() as status:
                tf.TF_SetConfig(options, config, len(config), status)
            tags = (ctypes.c_char_p * 1)(_SERVE_TAG)
            path = os.fsencode(directory)
            with Status() as status:
                self._session = tf.TF_LoadSessionFromSavedModel(
                    options, None, path, tags, 1, self._graph, meta_graph, status
                )
            serialized = content_of(meta_graph)
        except ServingError:
            self.close()
            raise
        finally:
            tf.TF_DeleteBuffer(meta_graph)
            tf.TF_DeleteSessionOptions(options)
        # Copies, because a part of a message keeps the whole alive, here the graph.
        self.signatures: dict[str, Any] = {
            name: SignatureDef.FromString(signature.SerializeToString())
            for name, signature in MetaGraphDef.FromString(serialized).signature_def.items()
        }

    def close(self) -> None:
        """Frees the model's memory. No run may be under way or follow."""
        tf = library()
        if self._session:
            with Status() as status:
                tf.TF_CloseSession(self._session, status)
            with Status() as status:
                tf.TF_DeleteSession(self._session, status)
        if self._graph:
            tf.TF_DeleteGraph(self._graph)
        self._session = self._graph = None
        self._outputs.clear()

    def interrupt(self) -> None:
        """Ends the runs under way with CANCELLED; later ones fail. The memory stays until `close`."""
        with Status() as status:
            library().TF_CloseSession(self._session, status)

    def run(
        self, inputs: Sequence[tuple[str, Tensor]], outputs: Sequence[str], timeout_s: float | None = None
    ) -> list[Tensor]:
        """Runs the graph.

        Args:
          inputs: tensor names and values.
          outputs: tensor names.
          timeout_s: the run is stopped after it; None runs to the end.

        Raises:
          ServingError: with TensorFlow's code and message.
        """
        tf = library()
        fed = (Output * len(inputs))(*(self._output(name) for name, _ in inputs))
        values = (ctypes.c_void_p * len(inputs))(*(tensor.pointer for _, tensor in inputs))
        fetched = (Output * len(outputs))(*map(self._output, outputs))
        results = (ctypes.c_void_p * len(outputs))()
        run_options = None
        if timeout_s is not None:
            serialized = RunOptions(timeout_in_ms=max(1, int(timeout_s * 1000))).SerializeToString()
            run_options = Buffer(serialized, len(serialized), None)
        with Status() as status:
            tf.TF_SessionRun(
                *(self._session, run_options),
                *(fed, values, len(inputs)),
                *(fetched, results, len(outputs)),
                *(None, 0, None, status),
            )
        return [Tensor(result) for result in results if result is not None]

    def _output(self, name: str) -> Output:
        output = self._outputs.get(name)
        if output is None:
            operation, _, index = name.partition(":")
            pointer = library().TF_GraphOperationByName(self._graph, operation.encode())
            if not pointer or int(index or 0) >= library().TF_OperationNumOutputs(pointer):
                raise ServingError("NOT_FOUND", f"Tensor {name!r} of the signature is not in the graph")
            output = self._outputs[name] = Output(pointer, int(index or 0))
        return output
