"""What a client remembers of the models that it asks: their signatures, until another version answers."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serving.client.inputs import Signature, is_export, prepared
from serving.protocol import ServingError

_DEFAULT = "serving_default"
Key = tuple[str, int | None, str | None]
"""A model's name, and the version or the label that is asked for."""


@dataclass(frozen=True)
class Known:
    """What is known of a model.

    Args:
      version: that has these signatures.
      signatures: by name; None of a model that is no export of `consort`, whose inputs may be of any kind.
      fresh: whether the server was asked for them just now.
    """

    version: int
    signatures: dict[str, Signature] | None
    fresh: bool = False

    def prepared(self, request: Any, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Inputs as the signature of a request asks for them; as they are, if it is not known."""
        asked = (self.signatures or {}).get(request.model_spec.signature_name or _DEFAULT)
        return inputs if asked is None else prepared(inputs, asked)


_NOTHING = Known(-1, None, fresh=True)
_NEVER = ("UNIMPLEMENTED", "UNKNOWN")


class KnownModels:
    """Signatures of models, asked for once a version.

    Args:
      fetch: takes a key and a deadline in seconds; gives version and signatures.
    """

    def __init__(self, fetch: Callable[[Key, float], tuple[int, dict[str, Signature]]]):
        self._fetch, self._lock = fetch, threading.Lock()
        self._known: dict[Key, Known] = {}

    def of(self, key: Key, timeout_s: float, again: bool = False) -> Known:
        """What is known; nothing of a model whose signatures the server does not tell.

        Args:
          key: of the model.
          timeout_s: deadline of a call.
          again: ask the server even if the model is known.
        """
        found: Any = self._known.get(key)
        if found is not None and not again:
            return found
        try:
            version, signatures = self._fetch(key, timeout_s)
        except ServingError as error:
            # The call itself will tell what is wrong; servers without metadata are not asked again.
            if error.code in _NEVER:
                self._remember(key, _NOTHING)
            return _NOTHING
        told = signatures if is_export(signatures) else None
        self._remember(key, Known(version, told))
        return Known(version, told, fresh=True)

    def answered(self, key: Key, version: int) -> None:
        """Forgets a model of which another version answers now."""
        found = self._known.get(key)
        if found is not None and found.version not in (version, _NOTHING.version):
            with self._lock:
                self._known.pop(key, None)

    def _remember(self, key: Key, known: Known) -> None:
        with self._lock:
            self._known[key] = known
