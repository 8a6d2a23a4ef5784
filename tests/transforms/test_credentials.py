"""Credentials of a cloud runner, asked for with no account, a broken key, and a server that does not answer."""

import json
import socket
import time
from pathlib import Path

import pytest

from transforms.beam.credentials import check_credentials
from transforms.errors import InputError

DATAFLOW = ("--runner=DataflowRunner", "--project=p", "--region=r")


@pytest.fixture(autouse=True)
def nobody_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)


@pytest.mark.parametrize(
    "beam_args",
    [(), ("--runner=FnApiRunner",), ("--direct_num_workers=2",), (*DATAFLOW, "--dry_run=True")],
    ids=["none", "local", "workers", "nothing is sent"],
)
def test_what_uses_no_cloud_needs_none(beam_args: tuple[str, ...]) -> None:
    check_credentials(beam_args)


@pytest.mark.parametrize(
    ("beam_args", "named"),
    [
        (DATAFLOW, "--runner=DataflowRunner"),
        (("--runner=dataflowrunner", "--project=p"), "--runner=dataflowrunner"),
        (("--runner=FnApiRunner", "--temp_location=gs://bucket/tmp"), "--temp_location=gs://bucket/tmp"),
    ],
    ids=["the runner", "the runner in small letters", "a place in the cloud"],
)
def test_without_any_the_option_is_named_with_what_to_do(beam_args: tuple[str, ...], named: str) -> None:
    with pytest.raises(InputError, match="gcloud auth application-default login") as refused:
        check_credentials(beam_args)
    assert f"{named} without valid credentials" in str(refused.value) and refused.value.exit_code == 2


def test_a_key_file_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.json").write_text("{")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(InputError, match=r"key\.json"):
        check_credentials(DATAFLOW)


def test_an_issuer_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        user = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "t"}
        (tmp_path / "key.json").write_text(json.dumps(user))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy)
        started = time.monotonic()
        with pytest.raises(InputError, match="no answer from the credentials' issuer within 1 s"):
            check_credentials(DATAFLOW, timeout_s=1.0)
        assert time.monotonic() - started < 20
