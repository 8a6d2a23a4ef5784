"""Wrong ratings files are refused with file, line, value and the fix, before anything is written."""

import gzip
import os

import numpy as np
import pytest

from tests.helpers.ratings_matrix_like import write_coat_like, write_jester_like
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.sources.ratings_matrix.schema import RatingsMatrixOptions, RatingsMatrixSource
from transforms.sources.registry import get_source

HEADER = "user,joke,rating,user_complete"
GOOD = [f"u{user},j{joke},{joke - 2 + user}.5,1" for user in range(2) for joke in range(4)]


def refused(root, message, **options):
    small = {"candidates": 2, "exposed_items": 1, "requests_per_user": 3}
    source = RatingsMatrixSource(RatingsMatrixOptions(**(small | options)))
    with pytest.raises(InputError, match=message):
        source.check(root / "raw")
    with pytest.raises(InputError, match=message):
        import_dataset(source, root / "raw", root / "out")
    assert sorted(os.listdir(root)) == ["raw"], "something was left behind"


def write_csv(root, lines):
    (root / "raw").mkdir(exist_ok=True)
    (root / "raw/ratings.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("u1,j9,nan,1", "ratings.csv, line 10, field rating: received 'nan'; expected a number of -10 to 10"),
        ("u1,j9,,1", "line 10, field rating: received ''"),
        ("u1,j9,99,1", "line 10, field rating: received '99'"),
        ("u1,j9,good,1", "line 10, field rating: received 'good'"),
        ("u1,j9,1,yes", "line 10, field user_complete: received 'yes'; expected 0 or 1"),
        ("u1,,1,1", "line 10, field joke: received ''; expected an id"),
        (",j1,1,1", "line 10, field user: received ''"),
        ("u1,j1,1,1", "line 10, field joke: received 'j1'; expected each joke once a user"),
        ("u7,j1,1,1", "user u7: received 1 ratings of a user with user_complete 1; expected 4 ratings"),
        ("u7,j9,1,0", "user u0: received 4 ratings of a user with user_complete 1; expected 5 ratings"),
        ("u7,j9,1,0,5", "received a damaged file .*Expected 4 fields in line 10, saw 5"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    write_csv(tmp_path, [HEADER, *GOOD, line])
    refused(tmp_path, message)


def test_other_columns_no_complete_user_and_no_lines_are_refused(tmp_path):
    write_csv(tmp_path, ["user,item,rating,user_complete", *GOOD])
    refused(tmp_path, "line 1: received columns user, item, .*; expected columns user, joke")
    write_csv(tmp_path, [HEADER, *(line[:-1] + "0" for line in GOOD)])
    refused(tmp_path, "received no line with user_complete 1")
    write_csv(tmp_path, [HEADER])
    refused(tmp_path, "received no line with user_complete 1")
    (tmp_path / "raw/ratings.csv").write_text("")
    refused(tmp_path, "received a damaged file")
    (tmp_path / "raw/ratings.csv").unlink()
    refused(tmp_path, "no such file; expected ratings.csv.gz or ratings.csv")


def test_a_damaged_gzip_is_refused(tmp_path):
    write_jester_like(tmp_path / "raw", 20, 10)
    path = tmp_path / "raw/ratings.csv.gz"
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:50] + b"\x00" * 40 + content[90:], b"user,joke"):
        path.write_bytes(damaged)
        refused(tmp_path, "ratings.csv.gz: received a damaged file")
    path.write_bytes(gzip.compress(b"\xff\xfe\x00"))
    refused(tmp_path, "ratings.csv.gz: received a damaged file")


def test_too_few_rated_items_are_refused_before_anything_is_written(tmp_path):
    write_csv(tmp_path, [HEADER, *GOOD])
    message = "received 4 rated items of user u0; expected requests_per_user x exposed_items = 6 or more"
    refused(tmp_path, message, exposed_items=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exposed_items": 60}, "exposed_items 60 <= ranked_items 50 <= candidates 50"),
        ({"ranked_items": 51}, "exposed_items 5 <= ranked_items 51 <= candidates 50"),
        ({"bias_strength": -1}, "option 'bias_strength'.*received -1"),
        ({"softness": 0}, "option 'softness'.*received 0"),
        ({"label_noise": 1.0}, "option 'label_noise'"),
        ({"format": "netflix"}, "option 'format'.*received 'netflix'"),
        ({"bias": 1}, "option 'bias'.*unknown option"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        get_source("ratings_matrix", options)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train.ascii", ("cell", 6), r"train.ascii, line 2, column 3: received 6.0; expected a rating of 1 to 5, or 0"),
        ("train.ascii", ("cell", "nan"), "train.ascii, line 2, column 3: received nan"),
        ("train.ascii", ("cell", 2.5), "train.ascii, line 2, column 3: received 2.5"),
        ("train.ascii", ("row", 0), "train.ascii, line 2: received no rating; expected a user with ratings"),
        ("train.ascii", ("short", None), "train.ascii: received .*columns changed"),
        ("train.ascii", ("cell", "x"), "train.ascii: received could not convert string 'x'"),
        ("train.ascii", ("none", None), "train.ascii: received no such file"),
        ("propensities.ascii", ("cell", 0), "propensities.ascii, line 2, column 3: received 0.0; expected a probab"),
        ("propensities.ascii", ("cell", 1.5), "propensities.ascii, line 2, column 3: received 1.5"),
        ("propensities.ascii", ("lines", 3), "received 3 lines of 30 numbers; expected 6 lines of 30 numbers"),
        ("propensities.ascii", ("none", None), "propensities.ascii: received no such file"),
        ("user_item_features/user_features.ascii", ("row", 1), "line 2, field gender: received .1, 1.; expected a"),
        ("user_item_features/item_features.ascii", ("lines", 3), "received 3 lines of 9 numbers; expected 30 lines"),
        ("user_item_features/item_features_map.txt", ("none", None), "item_features_map.txt: received no such file"),
        ("user_item_features/user_features_map.txt", ("text", "a:b\n" * 9), "received no field 'gender'"),
    ],
)
def test_a_wrong_file_of_coat_is_named(tmp_path, name, change, message):
    write_coat_like(tmp_path / "raw", users=6, items=30, rated=12)
    path, (kind, value) = tmp_path / "raw" / name, change
    lines = [line.split() for line in path.read_text().splitlines()]
    if kind == "cell":
        lines[1][2] = str(value)
    elif kind == "row":
        lines[1] = [str(value)] * len(lines[1])
    elif kind == "short":
        lines[1].pop()
    elif kind == "lines":
        lines = lines[:value]
    path.write_text(value if kind == "text" else "\n".join(" ".join(line) for line in lines) + "\n")
    if kind == "none":
        path.unlink()
    refused(tmp_path, message, format="coat")


def test_generated_files_are_accepted(tmp_path):
    write_jester_like(tmp_path / "jester", 10, 100)
    RatingsMatrixSource().check(tmp_path / "jester")
    write_coat_like(tmp_path / "coat", 10, 40)
    RatingsMatrixSource(RatingsMatrixOptions(format="coat")).check(tmp_path / "coat")
    assert (np.loadtxt(tmp_path / "coat/train.ascii") > 0).sum(axis=1).tolist() == [24] * 10
