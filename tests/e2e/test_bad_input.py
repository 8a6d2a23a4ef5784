"""Wrong input, verb by verb: the exit code, the message, and nothing written."""

import json
import re
import shutil
import socket
import struct
from pathlib import Path

import pytest

from benchmarks.criteo_like import write_criteo_like
from tests.helpers.command_line import consort, tree
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import toy_features, toy_rows, write_learnable
from transforms.batches import Batch
from transforms.features import FeatureSet
from transforms.writing import write_dataset

pytestmark = pytest.mark.e2e

NO_SERVER = ("--address", "127.0.0.1:1", "--timeout", "1")
TRAIN = ("train", "toy.yaml", "--data", "toy", "--out", "new")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, run files, a trained run and its export, which no test may change."""
    folder = tmp_path_factory.mktemp("bad_input")
    write_learnable(folder / "toy")
    write_dataset([toy_rows("test", [b"a", b"b"], [1.0, 2.0], [[], []])], folder / "other", "other", toy_features(), {})
    (folder / "toy.yaml").write_text(small_config(training={"max_steps": 5}).to_yaml())
    (folder / "raw").mkdir()
    write_criteo_like(folder / "raw" / "train.txt", 300)
    (folder / "clicks.csv").write_text("item,clicked\na,1\n,0\n")
    (folder / "empty").mkdir()
    (folder / "file").write_text("text")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    (folder / "not_text.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert consort("train", "toy.yaml", "--data", "toy", "--out", "run").code == 0
        assert consort("export", "run", "--out", "versions").code == 0
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


TEXTS = {
    "unknown_key.yaml": "name: x\nsource: toy\ntraining: {epoch: 3}\n",
    "wrong_type.yaml": "name: x\nsource: toy\ntraining: {epochs: many}\n",
    "list.yaml": "- a\n",
    "unknown_column.yaml": "name: x\nsource: toy\nfeatures: {add: [{name: q, encoding: id, column: z}]}\n",
    "unknown_world.yaml": "usrs: 3\n",
    "wrong_world.yaml": "users: many\n",
    "broken.yaml": "users: [\n",
    "log.yaml": "name: shop\nfiles: clicks.csv\nitem_id: item\nlabel: clicked\nsplits: random\n",
}

CASES = [
    ("data simulate --out file --requests 9", "file: received a path in use"),
    ("data simulate --out toy --requests 9", "toy: received a path in use"),
    ("data simulate --out file/below/it --requests 9", "file, which is no folder"),
    ("data simulate --out new --requests 0", "requests: received 0; expected 1 or more"),
    ("data simulate --out new --requests -3", "requests: received -3"),
    ("data simulate --out new --requests many", "Invalid value for '--requests'"),
    ("data simulate --out new --seed -1", "Invalid value for '--seed'"),
    ("data simulate --out new --world nowhere", "nowhere: received no such file or world"),
    ("data simulate --out new --world unknown_world.yaml", "'usrs': received an unknown key.*did you mean 'users'"),
    ("data simulate --out new --world wrong_world.yaml", "key 'users': received 'many'"),
    ("data simulate --out new --world broken.yaml", "text that is not YAML"),
    ("data simulate --out new --requests 9 --json empty", "--json empty: received a folder"),
    ("data simulate --out new --requests 9 --json file/x.json", "file, which is no folder"),
    ("data import nowhere --input raw --out new", "source: received 'nowhere'; expected one of avazu, criteo"),
    ("data import criteo --input nowhere --out new", "nowhere: received no such directory"),
    ("data import criteo --input file --out new", "file: received no such directory"),
    ("data import criteo --input empty --out new", "empty: received an empty directory; expected train.txt"),
    ("data import avazu --input empty --out new", "empty: received an empty directory; expected train.csv"),
    ("data import avazu --input raw --out new", "line 1: received 1 fields; expected the header id,click,hour"),
    ("data import ebnerd --input empty --out new", "behaviors.parquet: received no such file"),
    ("data import criteo --input raw --out raw", "raw: received a path in use"),
    ("data import criteo --input raw --out new --option frequency", "received 'frequency'; expected key=value"),
    ("data import criteo --input raw --out new --option freq=1", "'freq': received an unknown option"),
    ("data import criteo --input raw --out new --option batch_rows=0", "'batch_rows': received 0"),
    ("data import criteo --input raw --out new --option batch_rows=[", "expected a value as in YAML"),
    ("data import criteo --input raw --out new --beam-arg=--runner=Nowhere", "--runner=Nowhere; expected a runner"),
    (
        "data import criteo --input raw --out new --beam-arg=--runner=FnApiRunner --beam-arg=--direct_num_worker=2",
        "did you mean '--direct_num_workers'",
    ),
    (
        "data import criteo --input raw --out new --beam-arg=--direct_num_workers=many",
        "direct_num_workers: invalid int value",
    ),
    ("data import criteo --out new", "--input: received nothing"),
    ("data import nowhere.yaml --out new", "nowhere.yaml: received no such file; expected a declaration of a log"),
    ("data import log.yaml --out new", "clicks.csv, line 3, column item: received nothing"),
    ("data describe nowhere", "nowhere: received no such file or folder; expected a dataset"),
    ("data describe raw", "raw: received a folder of other files; expected a dataset"),
    ("config show nowhere", "nowhere: received no such file or preset"),
    ("config show simulated_deepfn", "did you mean 'simulated_deepfm'"),
    ("config check unknown_key.yaml", "'training.epoch': received an unknown key.*did you mean 'training.epochs'"),
    ("config check wrong_type.yaml", "'training.epochs': received 'many'; expected a whole number"),
    ("config check list.yaml", "list.yaml: received no mapping"),
    ("config check not_text.yaml", "text that is not YAML"),
    ("config check toy.yaml --set training.epochs", "expected key=value"),
    ("config check toy.yaml --set training.epochs=[", "expected a value as in YAML"),
    ("config check toy.yaml --set training.epochs.x=1", "'epochs' to be a section"),
    (
        "config check toy.yaml --set features.vocabularies=[{}]",
        "'features.vocabularies.0.name': received nothing; expected a value. Fix: give one",
    ),
    ("config check toy.yaml --set seed=-1", "'seed': received -1"),
    ("config check toy.yaml --set model.hidden_units=[-3]", "hidden_units.0': received -3"),
    ("config check toy.yaml --set training.learning_rate=.inf", "learning_rate': received inf"),
    ("train nowhere --data toy --out new", "nowhere: received no such file or preset"),
    ("train toy.yaml --data nowhere --out new", "nowhere: received no such file or folder; expected a dataset"),
    ("train toy.yaml --data toy.yaml --out new", "toy.yaml: received a file.*import it first: consort data import"),
    (
        "train toy.yaml --data run --out new",
        "run: received a finished run; expected a dataset.*it was trained on",
    ),
    ("train toy.yaml --data other --out new", "a dataset of source 'other'; expected 'toy'"),
    ("train toy.yaml --data toy --out file", "file, which is no folder"),
    ("train toy.yaml --data toy --out file/below", "file, which is no folder"),
    ("train toy.yaml --data toy --out toy", "toy: received a folder in use"),
    ("train toy.yaml --data toy --out run", "run: received a finished run"),
    ("train toy.yaml --data toy --out run --seed 3", "other settings than those of the run there: seed 3, was 1"),
    ("train toy.yaml --data toy --out new --seed -1", "Invalid value for '--seed'"),
    (
        "train toy.yaml --data toy --out new --set record=request",
        "records of kind row; expected records of kind request",
    ),
    ("train toy.yaml --data toy --out new --set model.name=depfm", "model: received 'depfm'; .*did you mean 'deepfm'"),
    ("train toy.yaml --data toy --out new --set model.options={wide:1}", "has no option"),
    (
        "train toy.yaml --data toy --out new --set features.drop=[prize]",
        "'prize'; expected one of.*did you mean 'price'",
    ),
    (
        'train toy.yaml --data toy --out new --set features.vocabularies=[{"name":"item","hash_buckets":9}]',
        "features.vocabularies: received 'item'; expected one of.*did you mean 'items'",
    ),
    ("train unknown_column.yaml --data toy --out new", "reads column 'z', which is not declared"),
    ("train toy.yaml --data toy --out new --set pipeline.beam_args=[--runner=Nowhere]", "--runner=Nowhere"),
    ("train toy.yaml --data toy --out new --json empty", "--json empty: received a folder"),
    ("pipeline run toy.yaml --data other --root new", "a dataset of source 'other'"),
    ("pipeline run toy.yaml --data toy --root file/x", "file, which is no folder"),
    ("pipeline run toy.yaml --data toy --root new --set pipeline.slices=[prize]", "pipeline.slices: received 'prize'"),
    ("pipeline graph toy.yaml --data nowhere --root new", "nowhere: received no such file or folder"),
    ("evaluate nowhere --data toy", "nowhere: received no such file or folder; expected a finished run"),
    ("evaluate toy --data toy", "toy: received a dataset.*the dataset with --data"),
    ("evaluate file --data toy", "file: received a file.*name a folder"),
    ("evaluate run --data nowhere", "nowhere: received no such file or folder"),
    ("evaluate run --data toy --split night", "--split: received 'night'"),
    ("evaluate run --data toy --resamples -1", "Invalid value for '--resamples'"),
    ("export nowhere --out new", "nowhere: received no such file or folder"),
    ("export empty --out new", "empty: received an empty folder"),
    ("export run --out file/x", "file, which is no folder"),
    ("serve empty", "empty: received an empty folder"),
    ("serve run", "run: received a finished run; .*export it first: consort export run --out SERVING"),
    ("serve versions --port 70000", "Invalid value for '--port'"),
    ("serve versions --port -1", "Invalid value for '--port'"),
    ("query toy_deepfm", "both or neither of --data and --inputs"),
    ("query toy_deepfm --data toy --inputs file", "both or neither"),
    ("query toy_deepfm --inputs nowhere.json", "--inputs nowhere.json: received no such file"),
    ("query toy_deepfm --data nowhere", "nowhere: received no such file or folder"),
    ("query toy_deepfm --data toy --split night", "split: received 'night'"),
    ("query toy_deepfm --data toy --timeout 0", "Invalid value for '--timeout'"),
    ("query toy_deepfm --data toy --count 0", "Invalid value for '--count'"),
    ("nowhere", "No such command"),
]


@pytest.mark.parametrize(("command", "message"), CASES, ids=[command for command, _ in CASES])
def test_wrong_input_exits_with_2_says_why_and_writes_nothing(folder, command, message):
    before = tree(folder)
    answer = consort(*command.split())
    assert answer.code == 2, answer.err
    assert_says(answer.err, message)
    assert tree(folder) == before


def assert_says(text, message):
    assert re.search(message, " ".join(text.split())), text


RAW = [
    ("a\tb\n", "line 1: received 2 fields; expected 40 fields"),
    ("", "an empty file"),
    ("2" + "\t" * 39 + "\n", "line 1, field label: received '2'; expected 0 or 1"),
    ("1\tmany" + "\t" * 38 + "\n", "line 1, field I1: received 'many'; expected an integer"),
    ("1" + "\t" * 39 + "\n1\t2\n", "line 2: received 2 fields"),
    ("1" + "\t" * 39 + "zebra\n", "line 1, field C26: received 'zebra'"),
]


@pytest.mark.parametrize(("text", "message"), RAW, ids=[message for _, message in RAW])
def test_malformed_raw_files_are_refused_with_their_line(tmp_path, text, message):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train.txt").write_text(text)
    answer = consort("data", "import", "criteo", "--input", tmp_path / "raw", "--out", tmp_path / "data")
    assert answer.code == 2, answer.err
    assert_says(answer.err, f"train.txt.*{message}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


DAMAGES = {"a flipped byte": flipped, "a cut": lambda content: content[:-100], "nothing left": lambda content: b""}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_shard_is_named_and_nothing_is_written(tmp_path, damage):
    shutil.copytree("toy", tmp_path / "data")
    before = {}
    for split in ("train", "test"):
        path = next((tmp_path / "data" / "row" / split).glob("*.tfrecord"))
        before[path] = path.read_bytes()
        path.write_bytes(damage(before[path]))
    for command in (
        ("train", "toy.yaml", "--data", tmp_path / "data", "--out", tmp_path / "new"),
        ("pipeline", "run", "toy.yaml", "--data", tmp_path / "data", "--root", tmp_path / "new"),
        ("evaluate", "run", "--data", tmp_path / "data"),
    ):
        answer = consort(*command)
        assert answer.code == (4 if command[0] == "pipeline" else 2), answer.err  # Rejected by the data gate.
        assert_says(answer.err, "received a damaged record|a split '(train|test)' that is not empty")
        assert str(tmp_path / "data") in answer.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    for path, content in before.items():
        path.write_bytes(content)
    assert consort("evaluate", "run", "--data", tmp_path / "data", "--resamples", 0).code == 0


def test_a_damaged_dataset_json_is_refused(tmp_path):
    shutil.copytree("toy", tmp_path / "data")
    for text in ("", "{", "[]", '{"source": 3}'):
        (tmp_path / "data" / "dataset.json").write_text(text)
        answer = consort("evaluate", "run", "--data", tmp_path / "data")
        assert answer.code == 2, answer.err
        assert "dataset.json" in answer.err


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_damaged_model_is_named(tmp_path, name):
    shutil.copytree("run/model", tmp_path / "model")
    (tmp_path / "model" / name).write_text("no model")
    answer = consort("evaluate", tmp_path / "model", "--data", "toy")
    assert answer.code == 2, answer.err
    assert_says(answer.err, f"{tmp_path}/model: received no intact SavedModel")


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_a_damaged_contract_is_named(tmp_path, text):
    shutil.copytree("run/model", tmp_path / "model")
    (tmp_path / "model" / "assets.extra" / "contract.json").write_text(text)
    for command in (("evaluate", tmp_path / "model", "--data", "toy"), ("export", tmp_path / "model", "--out", "new")):
        answer = consort(*command)
        assert answer.code == 2, answer.err
        assert "contract.json" in answer.err
    assert not Path("new").exists()


def test_a_damaged_transform_of_an_unfinished_run_is_named(tmp_path):
    shutil.copytree("run", tmp_path / "run", ignore=shutil.ignore_patterns("model", "checkpoints"))
    path = next((tmp_path / "run" / "transformed" / "train").glob("*.tfrecord"))
    path.write_bytes(flipped(path.read_bytes()))
    answer = consort("train", "toy.yaml", "--data", "toy", "--out", tmp_path / "run")
    assert answer.code == 2, answer.err
    assert_says(answer.err, "run/transformed: received a damaged record")


def test_data_that_lacks_a_column_of_the_model_is_refused(tmp_path):
    features, rows = toy_features(), toy_rows("test", [b"a", b"b"], [1.0, 2.0], [[], []])
    without = FeatureSet(
        columns=tuple(column for column in features.columns if column.name != "count"),
        features=tuple(feature for feature in features.features if feature.name != "count"),
        vocabularies=tuple(vocabulary for vocabulary in features.vocabularies if vocabulary.name != "counts"),
    )
    columns = {name: values for name, values in rows.columns.items() if name != "count"}
    write_dataset([Batch("row", "test", columns)], tmp_path / "data", "toy", without, {})
    answer = consort("evaluate", "run", "--data", tmp_path / "data")
    assert answer.code == 2, answer.err
    assert_says(answer.err, "column 'count': received no such column; expected type float")


def test_a_query_without_a_server_fails_within_its_deadline():
    answer = consort("query", "toy_deepfm", "--data", "toy", *NO_SERVER)
    assert answer.code == 1
    assert_says(answer.err, "UNAVAILABLE.*consort serve.*127.0.0.1:1")


def test_a_port_in_use_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # Without --xla the server would switch XLA off for good in this process, and so for other tests.
        answer = consort("serve", "versions", "--xla", "--port", taken.getsockname()[1])
    assert answer.code == 2, answer.err
    assert_says(answer.err, "expected an address that is free")


@pytest.fixture(scope="module")
def address(folder):
    from serving.server.server import LocalServer
    from serving.versions import model_bases

    with LocalServer(model_bases(folder / "versions")) as server:
        server.wait_ready(60)
        yield server.address


GOOD = {
    "user_id": ["u1"],
    "item_id": ["i1"],
    "timestamp": [1],
    "history": [["i1", "i2"]],
    "price": [None],
    "count": [2],
}
QUERIES = [
    ({"prize": [1.0]}, "'prize': received an unknown input.*did you mean 'price'"),
    ({"price": ["cheap"]}, "'price': received \"cheap\"; expected float32"),
    ({"price": [True]}, "'price': received true"),
    ({"price": 1.0}, r"'price': received shape \[\]; expected float32 values of shape \[any\]"),
    ({"price": [[1.0]]}, r"'price': received shape \[1, 1\]"),
    ({"price": [1.0, 2.0]}, "unequal numbers of records.*price 2"),
    ({"timestamp": [1.5]}, "'timestamp': received 1.5; expected int64"),
    ({"timestamp": [2**70]}, "'timestamp': received 1180591620717411303424"),
    ({"user_id": {"a": 1}}, "'user_id'.*expected string"),
    ({"history": [["a"], ["b", "c"]]}, "unequal numbers of records.*history 2, history_lengths 2"),
    ({"history": ["a", "b"]}, r"'history': received shape \[2\]; expected string values of shape \[any, any\]"),
    ({"history": [["a", 1.5]]}, "'history': received 1.5; expected string"),
    ({"history_lengths": [0.5]}, "'history_lengths': received 0.5; expected int64"),
    ({"history_lengths": [None]}, "'history_lengths': received null; expected int64"),
]


@pytest.mark.parametrize(("change", "message"), QUERIES, ids=[message for _, message in QUERIES])
def test_wrong_inputs_of_a_query_are_named(tmp_path, address, change, message):
    (tmp_path / "inputs.json").write_text(json.dumps({**GOOD, **change}))
    answer = consort("query", "toy_deepfm", "--inputs", tmp_path / "inputs.json", "--address", address)
    assert answer.code == 2, answer.err
    assert_says(answer.err, message)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"{}"])
def test_a_query_file_that_is_no_object_of_inputs_is_refused(tmp_path, address, content):
    (tmp_path / "inputs.json").write_bytes(content)
    answer = consort("query", "toy_deepfm", "--inputs", tmp_path / "inputs.json", "--address", address)
    assert answer.code == 2, answer.err
    assert "inputs.json: received" in answer.err


@pytest.mark.parametrize(
    "change",
    [{}, {"user_id": [None], "timestamp": [None]}, {"history": [["i1", None, "i2", None]]}, {"history_lengths": [1]}],
)
def test_a_right_query_is_answered(tmp_path, address, change):
    (tmp_path / "inputs.json").write_text(json.dumps({**GOOD, **change}))
    answer = consort("query", "toy_deepfm", "--inputs", tmp_path / "inputs.json", "--address", address)
    assert answer.code == 0, answer.err
    assert "outputs.probability" in answer.out


def test_an_unknown_model_or_a_dataset_of_another_model_is_told(tmp_path, address):
    answer = consort("query", "nowhere", "--data", "toy", "--address", address)
    assert answer.code == 1
    assert_says(answer.err, "NOT_FOUND.*nowhere.*consort serve")
    imported = consort("data", "import", "criteo", "--input", "raw", "--out", tmp_path / "criteo")
    assert imported.code == 0, imported.err
    answer = consort("query", "toy_deepfm", "--data", tmp_path / "criteo", "--split", "train", "--address", address)
    assert answer.code == 2, answer.err
    assert_says(answer.err, "received no column count, history, price")


def test_a_damaged_shard_is_named_by_a_query(tmp_path, address):
    shutil.copytree("toy", tmp_path / "data")
    path = next((tmp_path / "data" / "row" / "test").glob("*.tfrecord"))
    content = path.read_bytes()
    # The first record's checksum stands after its length, the length's checksum and the record.
    end = 12 + struct.unpack("<Q", content[:8])[0]
    path.write_bytes(content[:end] + bytes([content[end] ^ 1]) + content[end + 1 :])
    answer = consort("query", "toy_deepfm", "--data", tmp_path / "data", "--address", address)
    assert answer.code == 2, answer.err
    assert_says(answer.err, f"{path.name}: received a damaged record")


def test_a_run_that_stops_within_its_first_epoch_is_a_run(folder):
    # `folder` made it with max_steps 5 of 24 steps an epoch: no epoch is whole.
    saved = json.loads((folder / "run" / "run.json").read_text())
    assert saved["training"]["steps"] == 5 and saved["training"]["history"] == []
