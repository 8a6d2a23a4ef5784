"""A SavedModel in a TensorFlow session."""

import ctypes
import os
from collections.abc import Sequence
from typing import Any

from serving.protocol import ConfigProto, MetaGraphDef, RunOptions, ServingError, SignatureDef
from serving.server.c_api import Buffer, Output, Status, Tensor, content_of, library

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
        found = self._outputs.get(name)
        if found is None:
            operation, _, index = name.partition(":")
            pointer = library().TF_GraphOperationByName(self._graph, operation.encode())
            if not pointer or int(index or 0) >= library().TF_OperationNumOutputs(pointer):
                raise ServingError("NOT_FOUND", f"Tensor {name!r} of the signature is not in the graph")
            found = self._outputs[name] = Output(pointer, int(index or 0))
        return found
