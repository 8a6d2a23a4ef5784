"""What is told of how the towers search the catalogue."""

RECALL = "recall"


def emptied(side: str) -> str:
    """Name of the recall that is left with the caches of a side, `user` or `item`, emptied."""
    return f"{RECALL}_without_{side}_caches"
