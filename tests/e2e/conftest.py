"""What end-to-end tests share: learned transforms, and exported models that several files look at."""

from pathlib import Path

import pytest

from tests.helpers.served_sets import RequestLog, export, make_log


@pytest.fixture(scope="module", autouse=True)
def _each_transform_once(each_transform_once: None) -> None:
    """Runs in this process."""


@pytest.fixture(scope="session")
def request_log(tmp_path_factory: pytest.TempPathFactory) -> RequestLog:
    """A small log of requests with its transform."""
    return make_log(tmp_path_factory.mktemp("request_log"))


@pytest.fixture(scope="session")
def set_ranker(request_log: RequestLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set ranker on it, exported as version 1."""
    return export(request_log, "set_ranker", tmp_path_factory.mktemp("versions") / "set_ranker")
