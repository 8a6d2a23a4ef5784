"""Ids that a two-tower model tells from its other fields."""

from collections.abc import Mapping, Sequence

from transforms.features import ModelInput


def checked_id(argument: str, name: str, inputs: Sequence[ModelInput], roles: Mapping[str, str], role: str) -> str:
    """`name`, if it is an id among the inputs of a role.

    Args:
      argument: what the id was given as, for the message.
      name: of a feature.
      inputs: of the model.
      roles: of each, one of `ROLES`.
      role: which it must have.

    Raises:
      ValueError: it is not; the message gives those that are.
    """
    known = [item.name for item in inputs if item.vocabulary is not None and roles[item.name] == role]
    if name not in known:
        told = ", ".join(known) or "none"
        raise ValueError(f"{argument} is {name!r}; expected an id among the {role} inputs: {told}; name one")
    return name
