"""Progress of long steps: what a line says, and when it is written."""

import contextlib
import time

import apache_beam as beam
import pytest

from transforms import progress as lines
from transforms.beam.counting import Count, ImportCounts, counted


@pytest.mark.parametrize(
    ("done", "total", "rate", "text"),
    [
        (1000, None, 0.0, "importing: 1,000 rows"),
        (1000, None, 50.4, "importing: 1,000 rows, 50 rows/s"),
        (1000, 4000, 50.0, "importing: 1,000 of 4,000 rows, 50 rows/s, 1:00 left"),
        (5, 10, 0.25, "importing: 5 of 10 rows, 0.25 rows/s, 0:20 left"),
        (4000, 3000, 200.0, "importing: 4,000 of 3,000 rows, 200 rows/s, 0:00 left"),
    ],
)
def test_a_line_has_what_is_done_the_speed_and_the_time_left(done, total, rate, text):
    assert lines.progress_text("importing", "rows", done, total, rate) == text


def test_the_sum_is_written_where_progress_is_enabled_alone(capsys):
    with lines.progress("scoring", "records") as update:
        update(7, 7)
    assert capsys.readouterr().err == ""
    with lines.enabled(), lines.progress("scoring", "records") as update:
        update(7, 7)
    captured = capsys.readouterr()
    assert captured.err == "scoring: 7 records in 0:00\n" and captured.out == ""


def _until_written(capsys):
    deadline = time.monotonic() + 10
    while not (text := capsys.readouterr().err) and time.monotonic() < deadline:
        time.sleep(0.005)
    return text


def test_of_nested_steps_the_inner_one_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(lines, "EVERY_S", 0.005)
    with lines.Status(lambda: "outer"):
        with lines.Status(lambda: "inner"):
            time.sleep(0.05)
            assert set(_until_written(capsys).split()) <= {"outer", "inner"}
            assert set(_until_written(capsys).split()) == {"inner"}
        assert _until_written(capsys)


def test_a_pipe_gets_lines_and_a_terminal_one_line_that_is_cleared_at_the_end(monkeypatch, capsys):
    monkeypatch.setattr(lines, "EVERY_S", 0.005)
    monkeypatch.setattr(lines, "_REDRAWN_EVERY_S", 0.005)
    with lines.enabled(), lines.clock("exporting"):
        assert _until_written(capsys).splitlines()[0] == "exporting: 0:00"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with lines.enabled(), lines.clock("exporting"):
        assert _until_written(capsys).startswith("\r\x1b[Kexporting: 0:00")
        lines.say("a line that stays")
    text = capsys.readouterr().err
    assert "\r\x1b[Ka line that stays\n" in text and text.endswith("\r\x1b[K")


def test_the_speed_is_that_since_the_first_rows_were_done(monkeypatch, capsys):
    clock, counts = iter([0.0, 4.0, 20.0, 22.0]), iter([0, 100, 300])
    monkeypatch.setattr("transforms.progress.time.monotonic", lambda: next(clock))
    shown = []

    def status(text):
        shown.append(text)
        return contextlib.nullcontext()

    monkeypatch.setattr(lines, "Status", status)
    with lines.enabled(), lines.progress("importing", poll=lambda: ("reading", next(counts, 0), 400)):
        assert [shown[0]() for _ in range(3)] == [
            "reading: 0:04",
            "reading: 100 of 400 rows",
            "reading: 300 of 400 rows, 100 rows/s, 0:01 left",
        ]


def test_an_import_goes_through_phases_whose_end_is_known(tmp_path):
    counts = ImportCounts(tmp_path)
    counts.counter("read").add(5)
    counts.create()
    assert counts.phase() is None
    for name, size in (("all_bytes", 1000), ("read", 30), ("stages", 2)):
        counts.counter(name).add(size)
    assert counts.phase() == ("reading", 30, None)
    # Two workers have read a quarter of the files.
    for _ in range(2):
        counts.counter("bytes").add(125)
    assert counts.phase() == ("reading", 30, 120)
    counts.counter("read").add(90)
    counts.counter("computed").add(100)
    assert counts.phase() == ("computing", 100, 240)
    counts.counter("computed").add(140)
    counts.counter("sent").add(110)
    assert counts.phase() == ("writing", 0, 110)
    counts.counter("finished").add(50)
    assert counts.phase() == ("writing", 50, 110)
    assert ImportCounts(None).phase() is None


def test_records_are_counted_as_they_pass(tmp_path):
    with beam.Pipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create(["a", "bcd", "ef"]) | beam.ParDo(Count(tmp_path, len))
    assert counted(tmp_path) == 6
