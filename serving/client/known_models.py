"""A client's cache of the signatures of models, until another version answers."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.client.inputs import Signature, cut, is_export, prepared
from serving.protocol import ServingError

_DEFAULT = "serving_default"
Key = tuple[str, int | None, str | None]
"""A model's name, and the requested version or label."""


@dataclass(frozen=True)
class Known:
    """The known signatures of a model.

    Args:
      version: the one with these signatures.
      signatures: by name; None: not an export of `consort`, so that inputs are not prepared.
      fresh: True if they were just fetched from the server.
      reported: the signatures of any model.
      error: why the server reported none.
    """

    version: int
    signatures: dict[str, Signature] | None
    fresh: bool = False
    reported: Mapping[str, Signature] = field(default_factory=dict)
    error: ServingError | None = None

    def prepared(
        self, request: Any, inputs: Mapping[str, Any] | Callable[[Signature], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Returns inputs as the signature of a request declares them; unchanged if it is not one of `consort export`.

        Raises:
          ServingError: the inputs do not fit; or they are a function, and the signature is not known.
        """
        name, signature = request.model_spec.signature_name or _DEFAULT, self._signature_of(request)
        if callable(inputs):
            if self.error is not None:
                raise self.error
            if signature is None:
                raise ServingError(
                    "FAILED_PRECONDITION", f"Serving signature name: {name!r} not found in signature def"
                )
            inputs = inputs(signature)
        return inputs if signature is None or self.signatures is None else prepared(inputs, signature)

    def cut(self, request: Any, outputs: dict[str, np.ndarray], inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns an answer to prepared inputs without what is padding; unchanged if it is not of `consort export`."""
        signature = self._signature_of(request)
        return outputs if signature is None or self.signatures is None else cut(outputs, inputs, signature)

    def _signature_of(self, request: Any) -> Signature | None:
        return self.reported.get(request.model_spec.signature_name or _DEFAULT)


_NO_VERSION = -1
_NEVER = ("UNIMPLEMENTED", "UNKNOWN")


class KnownModels:
    """Signatures of models, fetched once for each version.

    Args:
      fetch: takes a key and a deadline in seconds; returns version and signatures.
    """

    def __init__(self, fetch: Callable[[Key, float], tuple[int, dict[str, Signature]]]):
        self._fetch, self._lock = fetch, threading.Lock()
        self._known: dict[Key, Known] = {}

    def of(self, key: Key, timeout_s: float, again: bool = False) -> Known:
        """Returns what is known; nothing if the server does not report a model's signatures.

        Args:
          key: of the model.
          timeout_s: deadline of a call.
          again: fetch even if the model is known.
        """
        known: Any = self._known.get(key)
        if known is not None and not again:
            return known
        try:
            version, signatures = self._fetch(key, timeout_s)
        except ServingError as error:
            # The call itself will report the error; servers without metadata are not asked again.
            nothing = Known(_NO_VERSION, None, fresh=True, error=error)
            if error.code in _NEVER:
                self._remember(key, nothing)
            return nothing
        exported = signatures if is_export(signatures) else None
        self._remember(key, Known(version, exported, reported=signatures))
        return Known(version, exported, fresh=True, reported=signatures)

    def answered(self, key: Key, version: int) -> None:
        """Drops a model if another version has answered."""
        known = self._known.get(key)
        if known is not None and known.version not in (version, _NO_VERSION):
            with self._lock:
                self._known.pop(key, None)

    def _remember(self, key: Key, known: Known) -> None:
        with self._lock:
            self._known[key] = known
