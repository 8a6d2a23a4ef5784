import logging

import pytest

from consort.cli.quiet import is_consort_warning


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [
        ("models.training.checkpoints", logging.WARNING, True),
        ("serving", logging.INFO, False),
        ("absl", logging.WARNING, False),
        ("absl", logging.ERROR, False),
        ("modelsomething", logging.WARNING, False),
    ],
)
def test_warnings_of_consort_are_shown_and_those_of_libraries_are_not(name, level, shown):
    assert is_consort_warning(logging.LogRecord(name, level, "file", 1, "text", None, None)) is shown
