"""Errors that a user can act on; the command line turns each into its exit code."""


class ConsortError(Exception):
    """Base of the errors whose message alone tells the user what to do.

    `exit_code` is what the command line returns: 1 failed while working.
    """

    exit_code = 1


class InputError(ConsortError, ValueError):
    """Wrong input: the message says what was received, what was expected and how to fix it. Exit 2.

    Args:
      where: the file, line, record or key at fault, e.g. `train.txt, line 12, field I3`.
      received: what stood there.
      expected: what should have stood there.
      fix: what the user can do about it.
    """

    exit_code = 2

    def __init__(self, where: str, received: object, expected: str, fix: str):
        self.where, self.received, self.expected, self.fix = where, received, expected, fix
        super().__init__(f"{where}: received {received}; expected {expected}. Fix: {fix}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.where, self.received, self.expected, self.fix)


class FaultyData(InputError):
    """A dataset whose content is of no use, or whose shards are damaged: a pipeline's data gate rejects it."""


class MissingPart(ConsortError):
    """An optional part is not installed. Exit 3.

    Args:
      part: what is missing.
      install: the line that installs it.
    """

    exit_code = 3

    def __init__(self, part: str, install: str):
        self.part, self.install = part, install
        super().__init__(f"{part} is not installed. Install it with: {install}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.part, self.install)


class GateRefused(ConsortError):
    """Rejected by a validation gate: the work is complete, but its result is not good enough. Exit 4.

    Args:
      gate: name of the gate.
      reasons: one line for each reason.
      report: path of the file that has more of it; empty: there is none.
    """

    exit_code = 4

    def __init__(self, gate: str, reasons: list[str], report: str = ""):
        self.gate, self.reasons, self.report = gate, reasons, report
        lines = [f"  - {reason}" for reason in reasons] + ([f"report: {report}"] if report else [])
        super().__init__("\n".join([f"rejected by {gate}:", *lines]))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.gate, self.reasons, self.report)
