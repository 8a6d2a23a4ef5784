"""docs/metrics.md: its Python runs, and its tables name every metric and no other."""

import re

from tests.helpers.source_tree import ROOT

PAGE = (ROOT / "docs" / "metrics.md").read_text()


def test_the_page_names_every_metric_and_no_other() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "docs/metrics.md", "exec"), names)
    metrics = names["metrics"]
    assert isinstance(metrics, dict)
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    named = {key for row in rows for key in re.findall(r"`(\w+)`", row)} - {"standard", "recflow"}
    counts = {key for key in named if key.startswith("resampled_") or "_without_" in key}
    assert counts == {
        *(f"resampled_{kind}s" for kind in ("user", "request", "row")),
        *("rows_without_user", "rows_without_request", "requests_without_user"),
    }
    named -= counts
    assert named == {key for key in metrics if "@" not in key}
    assert {key.partition("@")[0] for key in metrics if "@" in key} == {"recall", "ndcg"}
    assert 0 < metrics["gap_closed"] < 1


def test_the_cut_offs_of_the_catalogue_are_those_of_the_code() -> None:
    from evaluation.catalogue import CUT_OFFS

    assert f"of the catalogue, k = {', '.join(map(str, CUT_OFFS))} where it has so many" in PAGE


def test_the_definitions_of_the_page_are_those_of_the_code() -> None:
    from evaluation.ranking import CUT_OFFS, RANKING_DEFINITIONS

    for definition in RANKING_DEFINITIONS:
        assert f"\n| `{definition}` |" in PAGE
    assert f"`--ranking-k {','.join(map(str, CUT_OFFS))}`" in PAGE
