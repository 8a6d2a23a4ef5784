"""The sizes for which XLA compiles the scoring of a request: each request is padded up to one of them.

Without them every new number of candidates would wait for a compilation, 50 ms and more.
"""

from dataclasses import dataclass

from transforms.features import FeatureSet, RecordKind, Shape

CANDIDATES = (128, 256, 512, 1024, 2048, 4608)
HISTORY = (64, 256, 1024)
"""Only for lists that have no `max_length`: with one, its histories are always padded to that."""


@dataclass(frozen=True)
class Buckets:
    """Sizes of a model's requests.

    Args:
      candidates: rising; the last is the most that a request may hold.
      history: rising; 0 alone without histories. A longer history is scored without XLA, whole.
    """

    candidates: tuple[int, ...]
    history: tuple[int, ...]

    @property
    def most_candidates(self) -> int:
        """Largest request."""
        return self.candidates[-1]

    def sizes(self) -> list[tuple[int, int]]:
        """Every pair of candidates and history that is compiled, history changing fastest."""
        return [(candidates, history) for candidates in self.candidates for history in self.history]


def buckets_of(feature_set: FeatureSet, record: RecordKind, candidates: tuple[int, ...] = CANDIDATES) -> Buckets:
    """The buckets for models on such records."""
    lists = [item.max_length for item in feature_set.model_inputs(record) if item.shape is Shape.RAGGED]
    known = [limit for limit in lists if limit is not None]
    history = HISTORY if len(known) < len(lists) else (max(known, default=0),)
    return Buckets(candidates, history)
