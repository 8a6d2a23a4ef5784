"""Means of a few ways over ordered settings, with intervals, as SVG text: the same figures give the same file."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_LEFT, _TOP, _WIDTH, _HEIGHT, _BOTTOM, _RIGHT = 80, 40, 480, 260, 60, 240
_INK, _SOFT = "#24292f", "#8c959f"
_COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#57606a")
_TICKS = 5


@dataclass(frozen=True)
class Point:
    """A mean and its interval.

    Args:
      at: index of the setting.
      mean: its value.
      low, high: None draws no interval.
    """

    at: int
    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One way.

    Args:
      label: of the legend.
      points: from left to right.
    """

    label: str
    points: Sequence[Point]


def line_plot(title: str, axis: str, value: str, settings: Sequence[str], lines: Sequence[Line]) -> str:
    """Lines over settings at equal distances.

    Args:
      title: above.
      axis: what the settings are.
      value: what is drawn.
      settings: names, from left to right.
      lines: at least one with a point.
    """
    points = [point for line in lines for point in line.points]
    known = [number for point in points for number in (point.mean, point.low, point.high) if number is not None]
    low, high = min(known), max(known)
    margin = (high - low) * 0.05 or 0.01
    low, high = low - margin, high + margin

    def x(at: float) -> float:
        return round(_LEFT + _WIDTH * (at + 0.5) / len(settings), 1)

    def y(number: float) -> float:
        return round(_TOP + _HEIGHT * (high - number) / (high - low), 1)

    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" fill="{_INK}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="22" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for tick in range(_TICKS + 1):
        number = low + (high - low) * tick / _TICKS
        parts.append(f'<line x1="{_LEFT}" y1="{y(number)}" x2="{_LEFT + _WIDTH}" y2="{y(number)}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y(number) + 4}" text-anchor="end" fill="{_SOFT}">{number:.4f}</text>')
    for at, name in enumerate(settings):
        parts.append(f'<text x="{x(at)}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{escape(name)}</text>')
    parts.append(f'<text x="{_LEFT + _WIDTH / 2}" y="{height - 12}" text-anchor="middle">{escape(axis)}</text>')
    parts.append(f'<text x="{_LEFT + _WIDTH + 16}" y="{_TOP}" fill="{_SOFT}">{escape(value)}</text>')
    for index, line in enumerate(lines):
        colour = _COLOURS[index % len(_COLOURS)]
        # Beside each other, so that intervals do not cover each other.
        shift = (index - (len(lines) - 1) / 2) * 0.06
        parts += _line(line, [x(point.at + shift) for point in line.points], y, colour)
        at = _TOP + 20 + 18 * index
        parts.append(f'<text x="{_LEFT + _WIDTH + 16}" y="{at}" fill="{colour}">{escape(line.label)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _line(line: Line, places: Sequence[float], y, colour: str) -> list[str]:  # type: ignore[no-untyped-def]
    joined = " ".join(f"{at},{y(point.mean)}" for at, point in zip(places, line.points, strict=True))
    parts = [f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for at, point in zip(places, line.points, strict=True):
        parts.append(f'<circle cx="{at}" cy="{y(point.mean)}" r="3" fill="{colour}"/>')
        if point.low is not None and point.high is not None:
            ends = f'x1="{at}" y1="{y(point.low)}" x2="{at}" y2="{y(point.high)}"'
            parts.append(f'<line {ends} stroke="{colour}"/>')
    return parts
