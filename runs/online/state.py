"""Where a run stands that learns from a stream: all of it lies in the checkpoint, with the weights."""

from dataclasses import dataclass, field
from typing import Any

from models.training.checkpoints import RunState


@dataclass
class SpanCounts:
    """Events of a span.

    Args:
      events: learned from.
      duplicates: seen before, and left out.
      late: older than the stream where it stood; learned from all the same, unless too late.
      dropped: left out, as they were too late.
    """

    events: int = 0
    duplicates: int = 0
    late: int = 0
    dropped: int = 0

    def add(self, counts: dict[str, int]) -> None:
        """Adds those of a batch."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)


@dataclass
class OnlineState(RunState):
    """The state of a run on a stream; `epoch` counts whole spans, `step_in_epoch` batches read of the one under way.

    Args:
      span: name of the span under way; "" between spans.
      spans: names of the whole ones.
      counts: of the span under way.
      events: learned from so far.
      moment: where the stream stands; None at its start.
      pushed: versions so far.
      pushed_events: events that the last of them had learned from.
      first_version: number of the first one; None before it.
    """

    span: str = ""
    spans: list[str] = field(default_factory=list)
    counts: SpanCounts = field(default_factory=SpanCounts)
    events: int = 0
    moment: int | None = None
    pushed: int = 0
    pushed_events: int = 0
    first_version: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.counts, SpanCounts):  # As a checkpoint has it.
            counts: Any = self.counts
            self.counts = SpanCounts(**counts)

    @property
    def last_span(self) -> str:
        """Name of the last whole span; "" before the first."""
        return self.spans[-1] if self.spans else ""
