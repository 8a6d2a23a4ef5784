"""Sources by name: each resolves, and a wrong name or option is answered with the nearest right one."""

import subprocess
import sys

import pytest

from transforms.errors import InputError
from transforms.sources.base import Source
from transforms.sources.registry import SOURCES, get_source, list_sources


def test_every_source_resolves_and_says_what_a_user_should_know():
    infos = list_sources()
    assert [info.name for info in infos] == sorted(SOURCES)
    for info in infos:
        source = get_source(info.name)
        assert isinstance(source, Source)
        assert source.name == info.name
        assert info.summary
        assert info.licence
        assert info.where
        assert source.feature_set().features
        assert ("request" in info.records) == (source.feature_set().list_size is not None)
        assert dict(info.options) == source.options.model_dump()


def test_options_reach_the_source():
    assert get_source("criteo", {"frequency_threshold": 3}).feature_set().id_vocabularies[0].frequency_threshold == 3
    assert get_source("ebnerd", {"records": "row"}).options.model_dump()["records"] == ("row",)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("critoe", {}, r"received 'critoe'.*did you mean 'criteo'\?"),
        ("zzz", {}, "expected one of avazu, .*choose one of these"),
        ("criteo", {"frequency_treshold": 3}, r"'frequency_treshold'.*did you mean 'frequency_threshold'\?"),
        ("criteo", {"frequency_threshold": 0}, "option 'frequency_threshold'.*received 0"),
        ("criteo", {"numeric": "log"}, "option 'numeric'.*received 'log'"),
        ("ebnerd", {"bucket_minutes": 7}, "option 'bucket_minutes'.*divides 60"),
        ("ebnerd", {"records": []}, "option 'records'.*at least one"),
    ],
)
def test_a_wrong_name_or_option_is_refused_with_the_nearest_right_one(name, options, message):
    with pytest.raises(InputError, match=message):
        get_source(name, options)


def test_listing_sources_imports_neither_tensorflow_nor_beam():
    code = (
        "import sys; from transforms.sources.registry import list_sources; list_sources(); "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'apache_beam', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
