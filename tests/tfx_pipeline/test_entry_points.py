import sys

import pytest

from tests.helpers.source_tree import ROOT
from tfx_pipeline import entry_points as checked


def test_a_name_that_cannot_be_imported_is_reported_with_the_reason():
    lines = checked.missing(["json", "no_such_module"], ["json.loads", "json.no_such_function"])
    assert [line.partition(":")[0] for line in lines] == ["no_such_module", "json.no_such_function"]


def test_every_module_of_the_rooms_that_workers_load_is_checked():
    names = set(checked.modules())
    files = [path for room in ("transforms", "tfx_pipeline", "serving") for path in (ROOT / room).rglob("*.py")]
    expected = {
        str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__") for path in files
    }
    assert expected - names <= {"transforms", "tfx_pipeline", "serving"}
    assert not any(name.startswith(("benchmarks", "experiments")) for name in names)


def test_the_entry_points_can_be_imported():
    assert checked.missing((), checked.entry_points()) == []


def test_the_exit_code_says_whether_something_is_missing(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(checked, "modules", lambda: iter(["json", "no_such_module"]))
    monkeypatch.setattr(checked, "entry_points", lambda: ())
    assert checked.main() == 1
    assert "no_such_module" in capsys.readouterr().out and "no_such_module" not in sys.modules
