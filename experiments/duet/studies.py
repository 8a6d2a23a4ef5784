"""Parts of the page that go through several worlds or sizes of a log, and what a user should choose in each."""

from collections.abc import Sequence
from typing import NamedTuple

from experiments import page
from experiments.duet.findings import ENTIRE, LOGGING, METRICS, ORACLE, UNEXPOSED, Findings
from experiments.duet.methods import DUET, DUET_STAGES, SINGLE, STAGED, title
from experiments.grid import DEFAULT, REQUESTS
from experiments.page import TEST_HEADER, interval, spread, table, test_cells
from experiments.plots import Line, line_plot, points
from experiments.statistics import level

_STAGE_PAIRS = (
    (DUET, SINGLE),
    (DUET_STAGES, SINGLE),
    (DUET_STAGES, DUET),
    (DUET_STAGES, "stage_heads_10"),
    (DUET_STAGES, LOGGING),
)
_SET_PAIRS = ((SINGLE, "set_pointwise"), (SINGLE, "two_tower"), (DUET, SINGLE), (DUET_STAGES, "stage_heads_10"))
_SIZE_PAIRS = (
    (SINGLE, "two_tower"),
    (DUET, SINGLE),
    (DUET, "weight_matched"),
    (DUET, "two_singles_ensemble"),
    ("stage_heads_10", SINGLE),
    (DUET_STAGES, "stage_heads_10"),
)


class PartOfPage(NamedTuple):
    """A study on the page.

    Args:
      name: of the part.
      axis: what its worlds differ in.
      pairs: rows that are compared in each world: the claim is that the first is better.
      plot: name of the file.
    """

    name: str
    axis: str
    pairs: Sequence[tuple[str, str]]
    plot: str


STUDIES = (
    PartOfPage("bias", "Strength of the exposure bias", _STAGE_PAIRS, "duet_bias.svg"),
    PartOfPage("set_effect", "Strength of the set effect", _SET_PAIRS, "duet_set_effect.svg"),
    PartOfPage("cascade", "What the logging cascade knows", _STAGE_PAIRS, "duet_cascade.svg"),
    PartOfPage("sizes", "Requests in the log", _SIZE_PAIRS, "duet_sizes.svg"),
    PartOfPage("sizes_set_effect", "Requests in the log, twice the set effect", _SIZE_PAIRS, "duet_sizes_6.svg"),
)


def study(findings: Findings, files: dict[str, str], part: PartOfPage) -> dict[str, str]:
    """Returns the values of a study for the page, its worlds, AUCs, plot and tests; adds the plot to `files`."""
    variants = findings.grid.variants(part.name)
    present = {name: world for name, world in variants.items() if findings.rows(part.name, world)}
    rows, lines = [], []
    for row in (*findings.grid.methods(part.name), LOGGING, ORACLE):
        by_world = [findings.values(world, row, UNEXPOSED) for world in present.values()]
        if any(by_world):
            rows.append([title(row), *map(spread, by_world)])
            lines.append(Line(title(row), points([level(values) if values else None for values in by_world])))
    tests = []
    if rows:
        heading = f"AUC, unexposed, by {part.axis.lower()}"
        files[part.plot] = line_plot(heading, part.axis, "AUC, unexposed", list(present), lines[:-1])
        compared = [
            one for metric in (UNEXPOSED, ENTIRE) for one in findings.study_tests(part.name, part.pairs, metric)
        ]
        tests = [
            [METRICS[one.metric], f"{title(one.better)} > {title(one.worse)}",
             findings.grid.world_name(part.name, one.variant), *test_cells(one.test)]
            for one in compared
        ]  # fmt: skip
    changes = findings.grid.studies()[part.name].worlds
    worlds = [[name, page.shown(changes[name]) or "none"] for name in present if rows]
    return {
        f"{part.name}_worlds": table(("world", "changes in the default world"), worlds),
        part.name: table(("AUC, unexposed", *present), rows),
        f"{part.name}_plot": page.image(f"AUC by {part.axis.lower()}", part.plot) if rows else "",
        f"{part.name}_tests": table(("AUC", "claim", "world", *TEST_HEADER), tests),
    }


def choice(findings: Findings) -> str:
    """Returns a table of what to choose, for each world and size of the log, without and with logged stages.

    Of the methods that serve one model it is the one with the greatest mean of the main metric, if that is
    significantly better than the single set ranker's, p values of all these methods adjusted together; else the single
    set ranker.
    """
    grid = findings.grid
    places = dict.fromkeys(world for part in ("main", *grid.studies()) for world in grid.variants(part).values())
    methods = [row for row in grid.all_methods() if findings.serves_one(row) and row != SINGLE]
    rows = []
    for world in places:
        changes = dict(grid.changes_of(world))
        requests = changes.pop(REQUESTS, grid.requests)
        compared = [(row, SINGLE, findings.main_metric, world) for row in methods]
        for logged, pairs in (
            ("clicks", [pair for pair in compared if pair[0] not in STAGED]),
            ("clicks and stages", compared),
        ):
            gains = {one.better: one.test for one in findings.family(pairs)}
            if not gains or (logged != "clicks" and not STAGED.intersection(gains)):
                continue
            best = max(sorted(gains), key=lambda row: gains[row].mean)
            test = gains[best]
            chosen = best if test.verdict == "significantly better" else SINGLE
            world_shown = page.shown(changes) or (DEFAULT if grid.is_simulated else "the dataset")
            facts = [str(len(test.differences)), interval(test)]
            shown = "" if requests is None else f"{requests:,}"
            rows.append([world_shown, shown, logged, title(chosen), title(best), *facts])
    header = ("world", "requests", "logged", "choose", "greatest mean", "seeds", "its gain over one set ranker")
    return table(header, rows)
