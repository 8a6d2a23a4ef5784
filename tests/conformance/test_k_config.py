"""Model configurations and labels; the names begin with the numbers of the conformance list."""

import contextlib
import shutil
import time

import grpc
import pytest

from serving.client import PredictClient
from serving.protocol import ServingError
from serving.server.model_config import read_metrics_path, read_model_config
from serving.server.server import LocalServer
from tests.conformance.conftest import POLL_S
from tests.conformance.served_models import LABELS, entries, entry
from tests.helpers.command_line import consort, until
from transforms.errors import InputError


@pytest.fixture
def configured(server):
    """The server, whose models are those of the suite again after the test."""
    server.reload()
    yield server
    server.reload()


@pytest.fixture
def client(server):
    with PredictClient(server.address) as client:
        yield client


def _refused(call, *args, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **options)
    return caught.value.code().name, caught.value.details()


def _answer(client, model, **choice):
    answer = client.predict(model, {"x": [2.0]}, **choice)
    return answer.version, answer.outputs["y"].tolist()


def _is_gone(client, model):
    with contextlib.suppress(ServingError):
        client.predict(model, {"x": [2.0]})
        return False
    return True


def test_k01_all_models_of_a_configuration_answer(server, client):
    assert _answer(client, "default") == (123, [3.0])
    assert _answer(client, "three") == (123, [4.0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model_config_list: {", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        ("no_such_field: 1", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        ("model_config_list { config { name: 'm' base_path: 'm' model_platform: 'tensorflow' } }", "absolute path"),
    ],
)
def test_k02_a_file_that_cannot_be_read_ends_the_start_with_its_fault(tmp_path, text, said):
    path = tmp_path / "models.config"
    path.write_text(text)
    answer = consort("serve", f"--model_config_file={path}")
    assert answer.code == 2
    assert said in answer.err


def _write(path, *texts):
    (path.parent / "new").write_text(f"model_config_list {{ {' '.join(texts)} }}")
    (path.parent / "new").rename(path)


def test_k03_a_file_that_is_rewritten_is_followed(models_root, tmp_path):
    texts, path = entries(models_root), tmp_path / "models.config"
    _write(path, texts["default"])
    with (
        LocalServer(path, poll_s=POLL_S, config_poll_s=POLL_S) as server,
        PredictClient(server.address) as client,
    ):
        server.wait_ready(20.0)
        assert _is_gone(client, "three")
        path.write_text("half a file {")
        time.sleep(3 * POLL_S)
        assert _answer(client, "default") == (123, [3.0])
        _write(path, texts["three"])
        until(lambda: not _is_gone(client, "three"))
        assert _answer(client, "three") == (123, [4.0])
        until(lambda: _is_gone(client, "default"))


def test_k04_without_a_poll_a_change_of_the_file_is_ignored(models_root, tmp_path):
    texts, path = entries(models_root), tmp_path / "models.config"
    _write(path, texts["default"])
    with LocalServer(path, poll_s=POLL_S) as server, PredictClient(server.address) as client:
        server.wait_ready(20.0)
        _write(path, texts["three"])
        time.sleep(6 * POLL_S)
        assert _answer(client, "default") == (123, [3.0])
        assert _is_gone(client, "three")


def test_k05_a_reload_waits_for_new_models_and_unloads_those_that_are_not_listed(configured, client, two):
    configured.reload(entry("more", two.parent), without=("three",))
    # Available at once: the call has waited for it.
    assert _answer(client, "more") == (123, [3.0])
    until(lambda: [status.state for status in client.status("three")] == ["END"])
    assert _is_gone(client, "three")
    assert _answer(client, "default") == (123, [3.0])


def test_k05_a_new_model_that_cannot_be_loaded_is_the_answer(two, tmp_path):
    (tmp_path / "base" / "1").mkdir(parents=True)
    (tmp_path / "base" / "1" / "saved_model.pb").write_bytes(b"not a model")
    from tests.conformance.conftest import Server

    with (
        LocalServer({"default": two.parent}, poll_s=POLL_S) as local,
        grpc.insecure_channel(local.address) as channel,
    ):
        server = Server(local.address, None, two.parents[1], channel, local)
        code, details = _refused(server.reload_config, f"model_config_list {{ {entry('bad', tmp_path / 'base')} }}")
    assert code == "UNKNOWN"
    assert "1 model(s) did not become available: {{bad version 1 failed to load: " in details


@pytest.mark.parametrize("text", ["", "custom_model_config { type_url: 'a/b' }"])
def test_k06_what_is_no_list_of_models_is_invalid(server, text):
    code, details = _refused(server.reload_config, text)
    assert code == "INVALID_ARGUMENT"
    assert "Only ModelConfigList is currently supported" in details


INVALID = {
    "twice": (lambda root: entry("m", root) * 2, "Illegal to list model m multiple times in config list"),
    "relative": (lambda root: entry("m", "some/where"), "Expected model m to have an absolute path or URI"),
}


@pytest.mark.parametrize("case", INVALID)
def test_k07_an_invalid_list_is_refused_and_changes_nothing(server, client, models_root, case):
    make, said = INVALID[case]
    code, details = _refused(server.reload_config, f"model_config_list {{ {make(models_root)} }}")
    assert code == "INVALID_ARGUMENT"
    assert said in details
    assert _answer(client, "default") == (123, [3.0])


@pytest.mark.parametrize(
    ("platform", "said"),
    [
        ("", "Illegal setting neither ModelServerConfig::model_type"),
        ("model_type: TENSORFLOW model_platform: 'tensorflow'", "Illegal setting both ModelServerConfig::model_type"),
        ("model_platform: 'caffe'", "Illegal platform of model m: caffe"),
    ],
)
def test_k07_a_platform_is_tensorflow(tmp_path, platform, said):
    path = tmp_path / "models.config"
    _write(path, f"config {{ name: 'm' base_path: '{tmp_path}' {platform} }}")
    with pytest.raises(InputError, match=said):
        read_model_config(path)


@pytest.fixture
def allowing(configured):
    """True if new labels may stand for versions that are not loaded."""
    with contextlib.suppress(grpc.RpcError):
        configured.reload(entry("default", configured.root / "default", _label("probe", 9)), without=("default",))
        return True
    return False


def _label(label, version):
    return f" version_labels {{ key: '{label}' value: {version} }}"


def _labelled(server, label, version):
    """Labels a version of the model `pair`, beside the labels that it has."""
    labels = "".join(_label(*one) for one in (LABELS | {label: version}).items())
    text = entry("pair", server.root / "pair", f" model_version_policy {{ all {{}} }}{labels}")
    server.reload(text, without=("pair",))


UNAVAILABLE = "Request to assign label to version 9 of model {}, which is not currently available for inference"


def test_k08_a_label_of_a_version_that_is_not_loaded_is_a_failed_precondition(models_root, tmp_path):
    path = tmp_path / "models.config"
    _write(path, entry("default", models_root / "default"))
    from tests.conformance.conftest import Server

    with LocalServer(path, poll_s=POLL_S) as local, grpc.insecure_channel(local.address) as channel:
        local.wait_ready(20.0)
        server = Server(local.address, None, models_root, channel, local)
        for version, refused in ((9, True), (123, False)):
            text = f"model_config_list {{ {entry('default', models_root / 'default', _label('stable', version))} }}"
            if refused:
                code, details = _refused(server.reload_config, text)
                assert code == "FAILED_PRECONDITION"
                assert UNAVAILABLE.format("default") in details
            else:
                server.reload_config(text)
        with PredictClient(local.address) as client:
            assert _answer(client, "default", label="stable") == (123, [3.0])


def test_k08_labels_at_the_start_need_the_flag(models_root, tmp_path):
    path = tmp_path / "models.config"
    _write(path, entry("default", models_root / "default", _label("stable", 123)))
    with pytest.raises(ServingError, match="FAILED_PRECONDITION: Request to assign label to version 123"):
        LocalServer(path).start()
    with LocalServer(path, labels_of_unavailable=True) as server, PredictClient(server.address) as client:
        server.wait_ready(20.0)
        assert _answer(client, "default", label="stable") == (123, [3.0])


def test_k09_a_new_label_may_stand_for_any_version_and_one_that_exists_may_not_be_moved_to_it(allowing, configured):
    if not allowing:
        pytest.skip("the server was started without --allow_version_labels_for_unavailable_models")
    _labelled(configured, "C", 9)
    code, details = _refused(_labelled, configured, "A", 9)
    assert code == "FAILED_PRECONDITION"
    assert UNAVAILABLE.format("pair") in details


def test_k09_a_label_is_moved_to_a_loaded_version(configured, client):
    assert _answer(client, "pair", label="A") == (123, [3.0])
    _labelled(configured, "A", 124)
    assert _answer(client, "pair", label="A") == (124, [4.0])


def test_k10_a_base_path_that_changes_is_followed_back_and_forth(configured, client, two, three, tmp_path):
    shutil.copytree(two, tmp_path / "one" / "1")
    shutil.copytree(three, tmp_path / "other" / "2")
    for base, expected in (("one", (1, [3.0])), ("other", (2, [4.0])), ("one", (1, [3.0]))):
        configured.reload(entry("moved", tmp_path / base))
        until(lambda expected=expected: not _is_gone(client, "moved") and _answer(client, "moved") == expected)


def test_k11_a_model_that_was_unloaded_is_loaded_when_it_is_listed_again(configured, client):
    configured.reload(without=("three",))
    until(lambda: _is_gone(client, "three"))
    configured.reload()
    assert _answer(client, "three") == (123, [4.0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "neither FOLDER nor --model-config-file"),
        (("{}", "--model_config_file={}"), "FOLDER and --model-config-file"),
        (("{}", "--rest_api_port=0"), "there is no REST API"),
        (("{}", "--monitoring_config_file={}"), "--rest-api-port N"),
        (("{}", "--enable_batching=true"), "No such option: --enable-batching"),
    ],
)
def test_k12_flags_that_do_not_fit_end_the_start(tmp_path, arguments, said):
    path = tmp_path / "monitoring.config"
    path.write_text("prometheus_config { enable: true }")
    answer = consort("serve", *(argument.format(path) for argument in arguments))
    assert answer.code == 2
    assert said in answer.err


def test_version_policies_are_those_of_the_file(models_root, tmp_path):
    path = tmp_path / "models.config"
    policies = {
        "latest": " model_version_policy { latest { num_versions: 2 } }",
        "default": "",
        "all": " model_version_policy { all {} }",
        "listed": " model_version_policy { specific { versions: 123 versions: 7 } }",
    }
    _write(path, *(entry(name, models_root / "pair", text) for name, text in policies.items()))
    assert {model.name: model.policy for model in read_model_config(path)} == {
        "latest": 2,
        "default": 1,
        "all": "all",
        "listed": (123, 7),
    }
    with LocalServer(path, poll_s=POLL_S) as server, PredictClient(server.address) as client:
        server.wait_ready(20.0)
        states = {name: [one.version for one in client.status(name)] for name in policies}
    assert states == {"latest": [124, 123], "default": [124], "all": [124, 123], "listed": [123]}


def test_a_monitoring_file_names_the_path_of_the_metrics(tmp_path):
    path = tmp_path / "monitoring.config"
    for text, expected in (
        ("", None),
        ("prometheus_config { path: '/m' }", None),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("prometheus_config { enable: true path: '/m' }", "/m"),
    ):
        path.write_text(text)
        assert read_metrics_path(path) == expected
    path.write_text("prometheus_config { enable: true path: 'm' }")
    with pytest.raises(InputError, match="begins with /"):
        read_metrics_path(path)
