"""The data that cells of a grid share."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """The data that cells share.

    Args:
      variant: of the world.
      seed: of the world.
    """

    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.variant}-{self.seed}"


def data_folder(root: Path, place: Place, simulated: bool) -> Path:
    """Where the arrays of a place lie; those of a dataset are the same for all seeds."""
    return root / "work" / "data" / (place.name if simulated else "dataset")
