"""Arguments that name one of a few ways."""

from collections.abc import Sequence

from transforms.import_path import nearest


def checked_choice(argument: str, value: str, choices: Sequence[str]) -> str:
    """`value`, if it is one of `choices`.

    Raises:
      ValueError: it is not; the message gives the nearest choice, or all of them.
    """
    if value in choices:
        return value
    advice = nearest(value, choices)
    raise ValueError(
        f"{argument} is {value!r}; expected one of {', '.join(choices)}; "
        f"{advice if advice.startswith('did') else 'give one of these'}"
    )


def checked_count(argument: str, value: int) -> int:
    """`value`, if it is a whole number of at least 1.

    Raises:
      ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{argument} is {value!r}; expected a whole number of at least 1; correct it")
    return value
