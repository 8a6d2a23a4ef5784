"""Plots of repeats and of means over settings, with intervals, as SVG text: the same figures give the same file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from experiments.statistics import Paired

_ROW, _LEFT, _RIGHT, _TOP, _BOTTOM, _PLOT = 22, 210, 24, 40, 46, 480
_LINE_LEFT, _LINE_TOP, _LINE_WIDTH, _LINE_HEIGHT, _LINE_BOTTOM, _LINE_RIGHT = 80, 40, 480, 260, 60, 240
_COLORS = ("#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#57606a")
_TICKS = 5
_INK, _SOFT, _ACCENT = "#24292f", "#8c959f", "#0969da"


@dataclass(frozen=True)
class DotRow:
    """One line of a plot.

    Args:
      label: at its left.
      dots: one a repeat.
      mean: drawn as a bar.
      low, high: an interval around it; None draws none.
      heading: True draws the label alone.
    """

    label: str
    dots: Sequence[float] = ()
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    heading: bool = False


def dot_plot(
    title: str, axis: str, rows: Sequence[DotRow], marks: Mapping[str, float] | None = None, zero: bool = True
) -> str:
    """Rows of dots over one axis.

    Args:
      title: above.
      axis: what the numbers are, below.
      rows: from above.
      marks: values with a name, each a vertical line.
      zero: True puts 0 on the axis, too.
    """
    marks = marks or {}
    values = [value for row in rows for value in (*row.dots, row.mean, row.low, row.high) if value is not None]
    values += [*marks.values(), *([0.0] if zero else [])]
    step = _nice_step(max(values) - min(values))
    low, high = step * (min(values) // step), -step * (-max(values) // step)
    if high == low:
        high = low + step

    def x(value: float) -> float:
        return round(_LEFT + _PLOT * (value - low) / (high - low), 1)

    width, height = _LEFT + _PLOT + _RIGHT, _TOP + _ROW * len(rows) + _BOTTOM
    bottom = height - _BOTTOM
    parts = _frame(title, width, height)
    for index in range(round((high - low) / step) + 1):
        at, value = x(low + index * step), low + index * step
        color = _INK if abs(value) < step / 2 else "#d0d7de"
        parts.append(f'<line x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}" stroke="{color}"/>')
        parts.append(f'<text x="{at}" y="{bottom + 16}" text-anchor="middle" fill="{_SOFT}">{_number(value)}</text>')
    parts.append(f'<text x="{_LEFT + _PLOT / 2}" y="{bottom + 36}" text-anchor="middle">{escape(axis)}</text>')
    for name, value in marks.items():
        line = f'x1="{x(value)}" y1="{_TOP}" x2="{x(value)}" y2="{bottom}"'
        parts.append(f'<line {line} stroke="#cf222e" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{x(value)}" y="{_TOP - 4}" text-anchor="middle" fill="#cf222e">{escape(name)}</text>')
    for index, row in enumerate(rows):
        parts += _row(row, _TOP + _ROW * index + _ROW / 2, x)
    return "\n".join([*parts, "</svg>", ""])


def _frame(title: str, width: int, height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" fill="{_INK}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="22" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]


def _row(row: DotRow, y: float, x) -> list[str]:  # type: ignore[no-untyped-def]
    weight = ' font-weight="bold"' if row.heading else ""
    anchor, at = ("start", 10) if row.heading else ("end", _LEFT - 12)
    parts = [f'<text x="{at}" y="{y + 4}" text-anchor="{anchor}"{weight}>{escape(row.label)}</text>']
    if row.low is not None and row.high is not None:
        ends = f'x1="{x(row.low)}" y1="{y}" x2="{x(row.high)}" y2="{y}"'
        parts.append(f'<line {ends} stroke="{_ACCENT}" stroke-width="2"/>')
    parts += [f'<circle cx="{x(dot)}" cy="{y}" r="3" fill="none" stroke="{_SOFT}"/>' for dot in row.dots]
    if row.mean is not None:
        at_mean = x(row.mean)
        line = f'x1="{at_mean}" y1="{y - 6}" x2="{at_mean}" y2="{y + 6}"'
        parts.append(f'<line {line} stroke="{_ACCENT}" stroke-width="3"/>')
    return parts


def _nice_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that an axis has about six ticks."""
    if span <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= span:
        power *= 10
    while power > span:
        power /= 10
    return next(power * factor for factor in (0.2, 0.5, 1.0, 2.0) if span / (power * factor) <= 7)


def _number(value: float) -> str:
    return f"{value:.10g}" if value else "0"


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


def dots(label: str, test: Paired, unit: float = 1.0) -> DotRow:
    """Returns a line of a plot: the differences of a test with their mean and interval, in units."""
    low, high = (None if end is None else unit * end for end in (test.low, test.high))
    return DotRow(label, [unit * value for value in test.differences], unit * test.mean, low, high)


def points(tests: Sequence[Paired | None]) -> list[Point]:
    """Returns the means of tests with their intervals, one a setting; None: no point there."""
    return [Point(at, test.mean, test.low, test.high) for at, test in enumerate(tests) if test is not None]


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
        return round(_LINE_LEFT + _LINE_WIDTH * (at + 0.5) / len(settings), 1)

    def y(number: float) -> float:
        return round(_LINE_TOP + _LINE_HEIGHT * (high - number) / (high - low), 1)

    width, height = _LINE_LEFT + _LINE_WIDTH + _LINE_RIGHT, _LINE_TOP + _LINE_HEIGHT + _LINE_BOTTOM
    parts = _frame(title, width, height)
    right, middle, below = _LINE_LEFT + _LINE_WIDTH, _LINE_LEFT + _LINE_WIDTH / 2, _LINE_TOP + _LINE_HEIGHT
    for tick in range(_TICKS + 1):
        number = low + (high - low) * tick / _TICKS
        at = y(number)
        parts.append(f'<line x1="{_LINE_LEFT}" y1="{at}" x2="{right}" y2="{at}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LINE_LEFT - 8}" y="{at + 4}" text-anchor="end" fill="{_SOFT}">{number:.4f}</text>')
    for index, name in enumerate(settings):
        parts.append(f'<text x="{x(index)}" y="{below + 18}" text-anchor="middle">{escape(name)}</text>')
    parts.append(f'<text x="{middle}" y="{height - 12}" text-anchor="middle">{escape(axis)}</text>')
    parts.append(f'<text x="{right + 16}" y="{_LINE_TOP}" fill="{_SOFT}">{escape(value)}</text>')
    for index, line in enumerate(lines):
        color = _COLORS[index % len(_COLORS)]
        # Beside each other, so that intervals do not cover each other.
        shift = (index - (len(lines) - 1) / 2) * 0.06
        parts += _line(line, [x(point.at + shift) for point in line.points], y, color)
        at = _LINE_TOP + 20 + 18 * index
        parts.append(f'<text x="{right + 16}" y="{at}" fill="{color}">{escape(line.label)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _line(line: Line, places: Sequence[float], y, color: str) -> list[str]:  # type: ignore[no-untyped-def]
    joined = " ".join(f"{at},{y(point.mean)}" for at, point in zip(places, line.points, strict=True))
    parts = [f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="2"/>']
    for at, point in zip(places, line.points, strict=True):
        parts.append(f'<circle cx="{at}" cy="{y(point.mean)}" r="3" fill="{color}"/>')
        if point.low is not None and point.high is not None:
            ends = f'x1="{at}" y1="{y(point.low)}" x2="{at}" y2="{y(point.high)}"'
            parts.append(f'<line {ends} stroke="{color}"/>')
    return parts
