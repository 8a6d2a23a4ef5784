import logging

import pytest

from consort.cli.quiet import worth_telling


@pytest.mark.parametrize(
    ("name", "level", "told"),
    [
        ("models.training.checkpoints", logging.WARNING, True),
        ("serving", logging.INFO, False),
        ("absl", logging.WARNING, False),
        ("absl", logging.ERROR, False),
        ("modelsomething", logging.WARNING, False),
    ],
)
def test_our_warnings_are_told_and_nothing_of_the_libraries(name, level, told):
    assert worth_telling(logging.LogRecord(name, level, "file", 1, "text", None, None)) is told
