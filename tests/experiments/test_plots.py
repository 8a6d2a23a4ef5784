"""Where things stand in a plot."""

import xml.etree.ElementTree as ET

import pytest

from experiments.plots import DotRow, dot_plot

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*rows):
    return ET.fromstring(dot_plot("a < b", "unit", rows))


def test_dots_stand_in_proportion_to_their_values():
    root = drawn(DotRow("one", [0.0, 5.0, 10.0], mean=5.0, low=0.0, high=10.0))
    x = [float(dot.get("cx")) for dot in root.iter(f"{SVG}circle")]
    assert x[1] == pytest.approx((x[0] + x[2]) / 2)
    interval = next(line for line in root.iter(f"{SVG}line") if line.get("stroke-width") == "2")
    assert [float(interval.get(end)) for end in ("x1", "x2")] == [x[0], x[2]]


def test_the_axis_has_round_numbers_and_a_zero():
    root = drawn(DotRow("one", [-12.0, 31.0]))
    ticks = [text.text for text in root.iter(f"{SVG}text") if text.get("text-anchor") == "middle"][:-1]
    assert ticks == ["-20", "-10", "0", "10", "20", "30", "40"]


def test_rows_stand_below_each_other_and_text_is_escaped():
    root = drawn(DotRow("model", heading=True), DotRow("x & y", [1.0]), DotRow("z", [2.0]))
    y = [float(dot.get("cy")) for dot in root.iter(f"{SVG}circle")]
    assert y[0] < y[1]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[0] == "a < b" and "x & y" in texts and "unit" in texts


def test_equal_values_can_be_drawn():
    assert len(list(drawn(DotRow("none", [0.0, 0.0], mean=0.0)).iter(f"{SVG}circle"))) == 2
