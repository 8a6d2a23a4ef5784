"""Logs in BigQuery: the pipeline is built and translated, and records become rows; nothing is sent to the cloud."""

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from transforms.errors import InputError
from transforms.sources.table.bigquery import to_table
from transforms.sources.table.first_look import check
from transforms.sources.table.load import parse_declaration
from transforms.sources.table.read import ReadLog, ToRows

LOG = parse_declaration(
    {
        "name": "shop",
        "files": "project.clicks.log",
        "format": "bigquery",
        "item_id": "item",
        "timestamp": "at",
        "label": "clicked",
        "tables": {
            "items": {
                "files": "project.clicks.items",
                "format": "bigquery",
                "key": "id",
                "features": {"price": "float"},
            }
        },
    }
)


def test_the_pipeline_is_built_and_translated(tmp_path: Path) -> None:
    check(LOG, tmp_path)
    pipeline = beam.Pipeline(options=PipelineOptions(["--temp_location=gs://bucket/tmp", "--project=project"]))
    _ = pipeline | ReadLog(LOG, tmp_path)
    transforms = [one.unique_name for one in pipeline.to_runner_api().components.transforms.values()]
    assert sum(name.endswith(("Read project.clicks.log", "Read project.clicks.items")) for name in transforms) == 2


def test_records_become_rows_whose_order_is_that_of_their_content() -> None:
    records = [{"item": number, "at": 1_767_225_600, "clicked": True} for number in (3, 1, 2)]
    to_rows = ToRows(LOG, None)
    rows = to_table(records, 0, "project.clicks.log", to_rows).to_pydict()
    again = to_table(records[::-1], 0, "project.clicks.log", to_rows).to_pydict()
    assert rows["item_id"] == ["3", "1", "2"]
    assert dict(zip(rows["item_id"], rows["_row"], strict=True)) == dict(
        zip(again["item_id"], again["_row"], strict=True)
    )
    with pytest.raises(InputError, match=r"project.clicks.log, a record, column clicked: received 7"):
        to_table([records[0] | {"clicked": 7}], 0, "project.clicks.log", to_rows)


def test_a_table_is_named_whole(tmp_path: Path) -> None:
    log = LOG.model_copy(update={"files": ("clicks",)})
    with pytest.raises(InputError, match="expected project.dataset.table"):
        check(log, tmp_path)
