"""Arguments that name one of a few ways."""

import difflib
from collections.abc import Sequence


def checked_choice(argument: str, value: str, choices: Sequence[str]) -> str:
    """`value`, if it is one of `choices`.

    Raises:
      ValueError: it is not; the message gives the nearest choice, or all of them.
    """
    if value in choices:
        return value
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else "give one of these"
    raise ValueError(f"{argument} is {value!r}; expected one of {', '.join(choices)}; {advice}")


def checked_count(argument: str, value: int) -> int:
    """`value`, if it is a whole number of at least 1.

    Raises:
      ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{argument} is {value!r}; expected a whole number of at least 1; correct it")
    return value
