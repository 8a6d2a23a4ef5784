"""Templates: values, lines and sections that are left out."""

import pytest

from experiments.page import fill, settings, table

TEMPLATE = """# Title

Always. Value {{ a }}.

Only with {{ b }}.

## First

Prose.

{{ t }}

### Below it

{{ u }}

## Prose alone

Text.
"""


def test_lines_with_an_empty_value_are_left_out():
    text = fill(TEMPLATE, {"a": "1", "b": "", "t": "T", "u": "U"})
    assert text.startswith("# Title\n\nAlways. Value 1.\n\n## First\n\nProse.\n\nT\n\n### Below it\n\nU\n")


@pytest.mark.parametrize(("t", "u", "headings"), [("T", "", ["First"]), ("", "U", ["First", "Below it"]), ("", "", [])])
def test_sections_whose_values_are_all_empty_are_left_out_with_their_prose(t, u, headings):
    text = fill(TEMPLATE, {"a": "1", "b": "2", "t": t, "u": u})
    kept = [line.lstrip("# ") for line in text.splitlines() if line.startswith("##")]
    assert kept == [*headings, "Prose alone"] and ("Prose." in text) == bool(headings)


def test_a_placeholder_without_a_value_is_an_error():
    with pytest.raises(KeyError, match="b"):
        fill(TEMPLATE, {"a": "1", "t": "", "u": ""})


def test_a_table_without_rows_is_nothing():
    assert table(("a", "b"), []) == ""
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_settings_stand_beside_those_of_the_paper():
    class Grid:
        peers, widths, rate, missing = 4, (400, 200), 0.0001, None

    text = settings(Grid, ("peers", "widths", "rate", "missing"), {"peers": 2})
    assert text.splitlines()[2:] == [
        "| `peers` | 4 | 2 |", "| `widths` | 400, 200 |  |", "| `rate` | 0.0001 |  |", "| `missing` |  |  |"
    ]  # fmt: skip
