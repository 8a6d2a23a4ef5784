"""The simulator's records: a log of `CascadeWorld` with the truth beside it.

No raw files and no licence to mind. Splits are by time: the first 80 % of the requests are `train`,
the next 10 % `eval`, the last 10 % `test`.
"""

import os
from collections.abc import Callable, Iterator

import numpy as np

from transforms.batches import Batch
from transforms.errors import InputError
from transforms.features import SPLITS, Column, Encoding, Feature, FeatureSet, Split
from transforms.records import Dataset, load_dataset
from transforms.simulation.cascade_world import CascadeWorld
from transforms.simulation.columns import Columns, joined, rows_of
from transforms.simulation.figures import Figures
from transforms.simulation.parameters import World
from transforms.simulation.world_files import SIMULATOR_VERSION
from transforms.splits import SPLIT_ENDS
from transforms.writing import write_dataset

NAME = "simulator"
SHARD_CANDIDATES = 400_000
"""About so many candidates make a shard of requests; a shard holds whole blocks."""

Progress = Callable[[int, int], None]


def feature_set(world: World) -> FeatureSet:
    """What the simulated records hold, and what models see of them.

    Counters and histories hold what happened in earlier blocks of requests only. `logging_score`,
    `stage` (1 pre-ranked, 2 ranked, 3 exposed), `position` (1 = top, 0 = not shown) and
    `true_click_probability` are never model inputs.
    """
    return FeatureSet(columns=_columns(world), features=_features(), list_size=world.candidates, requires_item_id=True)


def _columns(world: World) -> tuple[Column, ...]:
    return (
        Column(name="user_segment", dtype="string", entity="user"),
        Column(name="user_age_bucket", dtype="int64", entity="user", min_value=0),
        Column(name="device", dtype="string", entity="context"),
        Column(
            name="history_item_id",
            dtype="string",
            entity="user",
            variable_length=True,
            max_length=world.history_length,
        ),
        Column(name="item_category", dtype="string", entity="item"),
        Column(name="item_age_hours", dtype="float", entity="item", min_value=0.0),
        # Padding holds -1, the marker of a missing number.
        Column(name="item_impressions_so_far", dtype="int64", entity="item", min_value=-1),
        Column(name="item_clicks_so_far", dtype="int64", entity="item", min_value=-1),
        Column(name="item_price", dtype="float", entity="item", min_value=0.0),
        Column(name="stage", dtype="int64", entity="item", min_value=0, max_value=3, model_input=False),
        Column(
            name="position",
            dtype="int64",
            entity="item",
            min_value=0,
            max_value=world.exposed_items,
            model_input=False,
        ),
        Column(name="logging_score", dtype="float", entity="item", model_input=False),
        Column(
            name="true_click_probability",
            dtype="float",
            entity="item",
            min_value=0.0,
            max_value=1.0,
            model_input=False,
        ),
    )


def _features() -> tuple[Feature, ...]:
    return (
        Feature(name="user_id", encoding=Encoding.ID),
        Feature(name="user_segment", encoding=Encoding.ID),
        Feature(name="user_age_bucket", encoding=Encoding.ID),
        Feature(name="device", encoding=Encoding.ID),
        Feature(name="hour_of_day", encoding=Encoding.HOUR_OF_DAY, column="timestamp"),
        Feature(name="day_of_week", encoding=Encoding.DAY_OF_WEEK, column="timestamp"),
        Feature(name="history_item_id", encoding=Encoding.ID, vocabulary="item_id"),
        Feature(name="item_id", encoding=Encoding.ID),
        Feature(name="item_category", encoding=Encoding.ID),
        Feature(name="item_age_hours", encoding=Encoding.LOG_ZSCORE),
        Feature(name="item_impressions_so_far", encoding=Encoding.LOG_ZSCORE),
        Feature(name="item_clicks_so_far", encoding=Encoding.LOG_ZSCORE),
        Feature(name="item_price", encoding=Encoding.LOG_ZSCORE),
    )


def simulate(
    out: str | os.PathLike[str], world: World, requests: int, seed: int, progress: Progress | None = None
) -> Dataset:
    """Writes a simulated log as request records and as row records, one for each impression.

    The same world, requests and seed give the same directory, byte for byte. `notes` of its
    `dataset.json` hold, for each split, the candidates, the click rate, the oracle's AUC and the logging policy's.

    Args:
      out: the dataset's folder; must be new or empty.
      world: the parameters, e.g. from `load_world`.
      requests: requests in the log, 1 or more.
      seed: of every random draw, 0 or more.
      progress: is told the requests done and the requests in all, after each block.

    Returns:
      The dataset that was written.

    Raises:
      InputError: `requests` or `seed` is too small, or `out` is in use; nothing is left behind.
    """
    if requests < 1:
        raise InputError("requests", requests, "1 or more", "ask for at least one request")
    if seed < 0:
        raise InputError("seed", seed, "0 or more", "choose another seed")
    figures = Figures()
    batches = _batches(CascadeWorld(world, requests, seed), requests, figures, progress)
    origin = {"source": NAME, "simulator_version": SIMULATOR_VERSION, "seed": seed, "requests": requests}
    origin |= {"world": world.model_dump(mode="json")}
    write_dataset(batches, out, NAME, feature_set(world), origin, figures.notes)
    return load_dataset(out)


def _batches(
    cascade_world: CascadeWorld, requests: int, figures: Figures, progress: Progress | None
) -> Iterator[Batch]:
    columns, block_requests = Columns(cascade_world), cascade_world.world.block_requests
    shard_requests = SHARD_CANDIDATES // cascade_world.world.candidates
    for split, start, stop in _shards(requests, max(shard_requests // block_requests, 1) * block_requests):
        blocks = []
        for done in range(start, stop, block_requests):
            end = min(done + block_requests, stop)
            blocks.append(columns.requests(cascade_world.answer(end - done), split))
            if progress is not None:
                progress(end, requests)
        shard = joined(blocks)
        rows = rows_of(shard)
        figures.add(rows, int(np.asarray(shard.columns["candidate"]).sum()))
        yield shard
        yield rows


def _shards(requests: int, size: int) -> Iterator[tuple[Split, int, int]]:
    """Split, first request and end of each shard of `size` requests; a split's last one may be short."""
    start = 0
    for split, share in zip(SPLITS, SPLIT_ENDS, strict=True):
        # A log of a request or two still has something to train on.
        stop = max(round(requests * share), 1)
        for first in range(start, stop, size):
            yield split, first, min(first + size, stop)
        start = stop
