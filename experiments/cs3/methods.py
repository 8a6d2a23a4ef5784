"""Methods: the parts of CS3, alone, in pairs and all together, and the control that leaks."""

from dataclasses import dataclass

BACKBONES = ("dssm", "int_tower", "dat", "transformer_two_tower")
"""Two towers of `models.registry`."""
BASE, FULL, LEAKY = "base", "full", "leaky"
SHUFFLED = "_shuffled"
"""Ends the name of a method that is trained on the rows of the train split in random order."""
RECALL = "recall"
"""Recall in the whole catalogue."""
FROZEN, PREQUENTIAL, ONLINE = "frozen", "prequential", "online"
MODES = (FROZEN, PREQUENTIAL, ONLINE)
"""Ways to score the rows after the train split: with the weights and caches of the end of training; caches take the
labels of each batch once it is scored, weights stay; weights and caches learn from each batch once it is scored."""
DECAY = 0.8
"""The paper's alpha and beta."""
_DECAY = "full_decay_"


@dataclass(frozen=True)
class Method:
    """One way to train two towers beside a ranker.

    Args:
      cas, cts, cms: parts of CS3.
      decay: alpha and beta.
      leaky: the caches are written before they are read.
      shuffled: rows of the train split come in random order, the times of the stream in theirs.
    """

    cas: bool = False
    cts: bool = False
    cms: bool = False
    decay: float = DECAY
    leaky: bool = False
    shuffled: bool = False


METHODS = {
    BASE: Method(),
    "cas": Method(cas=True),
    "cts": Method(cts=True),
    "cms": Method(cms=True),
    "cas_cts": Method(cas=True, cts=True),
    "cas_cms": Method(cas=True, cms=True),
    "cts_cms": Method(cts=True, cms=True),
    FULL: Method(cas=True, cts=True, cms=True),
    LEAKY: Method(cas=True, cts=True, cms=True, leaky=True),
    BASE + SHUFFLED: Method(shuffled=True),
    FULL + SHUFFLED: Method(cas=True, cts=True, cms=True, shuffled=True),
}
"""Methods by name; `decay_method` returns more."""
_TITLES = {"dssm": "DSSM", "int_tower": "IntTower", "dat": "DAT", "transformer_two_tower": "transformer towers"}


def decay_method(decay: float) -> str:
    """Returns the name of CS3 with this alpha and beta."""
    return FULL if decay == DECAY else f"{_DECAY}{decay:g}"


def method_of(name: str) -> Method:
    """Returns a method by its name."""
    if name.startswith(_DECAY):
        return Method(cas=True, cts=True, cms=True, decay=float(name.removeprefix(_DECAY)))
    return METHODS[name]


def tuned_as(name: str) -> str:
    """Returns the method whose learning rate it takes; variants of a method take that of the method."""
    return FULL if name == LEAKY or name.startswith(_DECAY) else name.removesuffix(SHUFFLED)


def title(method: str) -> str:
    """Returns a method's name on the page."""
    parts = method_of(method)
    if parts.shuffled:
        return f"{title(method.removesuffix(SHUFFLED))}, train rows shuffled"
    if method == LEAKY:
        return "CS3, write before read"
    if parts.decay != DECAY:
        return f"CS3, α = β = {parts.decay:g}"
    if method in (BASE, FULL):
        return "base" if method == BASE else "CS3 (all three)"
    return "+" + " +".join(part.upper() for part in method.split("_"))


def backbone_title(name: str) -> str:
    """Returns a backbone's name on the page."""
    return _TITLES.get(name, name)


def emptied(side: str) -> str:
    """Returns the name of the recall with the caches of a side, `user` or `item`, emptied."""
    return f"{RECALL}_without_{side}_caches"
