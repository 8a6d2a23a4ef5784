"""The generated blocks of the documentation are current."""

import pytest

from tests.docs import blocks
from tests.helpers.source_tree import ROOT


@pytest.mark.parametrize("page", blocks.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_generated_blocks_are_current(page):
    text = page.read_text()
    assert blocks.render(text) == text, "run `make docs`"
    assert text.count("<!-- generated: ") == text.count("<!-- end -->")


def test_every_generator_is_used_by_a_page():
    text = "\n".join(page.read_text() for page in blocks.pages())
    assert {name for name in blocks.GENERATORS if f"<!-- generated: {name}" not in text} == set()


def test_arguments_of_a_class_are_read_with_those_of_its_bases():
    class Base:
        """A base.

        Args:
          width: of a layer,
            in numbers.
        """

    class Derived(Base):
        """A class.

        Args:
          heads, depth: number of each.

        Raises:
          ValueError: never.
        """

    assert blocks.arguments(Derived) == {
        "width": "of a layer, in numbers",
        "heads": "number of each",
        "depth": "number of each",
    }
