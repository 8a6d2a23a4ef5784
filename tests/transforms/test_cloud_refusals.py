"""Stores that cannot be used are refused with the reason, within a minute, before anything is written."""

import json
import time

import pytest

from tests.helpers.object_stores import (
    WITHOUT_CREDENTIALS,
    answering,
    at,
    read_only_user,
    set_environment,
    store_server,
)
from transforms.cloud import clients
from transforms.cloud.clients import open_store
from transforms.cloud.copies import ReadCopy
from transforms.cloud.store import StoreError
from transforms.cloud.working import WorkingCopy


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of copies, which stays as it is: there is none."""
    set_environment(monkeypatch, {**WITHOUT_CREDENTIALS, "CONSORT_CACHE": str(tmp_path / "cache")})
    monkeypatch.setattr("transforms.cloud.clients._RETRY_S", 1.0)
    yield tmp_path / "cache"
    assert not (tmp_path / "cache").exists()


def lead_to(address, monkeypatch):
    """Leads the clients of both stores to a server."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    set_environment(monkeypatch, {**keys, "AWS_ENDPOINT_URL": address, "STORAGE_EMULATOR_HOST": address})


def refusals(url, message):
    """Expects that reading and writing are refused."""
    for copy in (ReadCopy(at(url)), WorkingCopy(at(url))):
        with pytest.raises(StoreError, match=message):
            copy.check()


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_bucket_that_is_not_there_is_refused(scheme, tmp_path, cache, monkeypatch):
    with store_server(scheme, tmp_path) as (_, variables):
        set_environment(monkeypatch, variables)
        refusals(f"{scheme}://no-such-bucket/run", "no such bucket.*Fix: correct its name, or create the bucket")


@pytest.mark.parametrize(
    ("url", "more", "message"),
    [
        ("s3://bucket/run", {"AWS_DEFAULT_REGION": "us-east-1"}, "no credentials of AWS"),
        ("gs://bucket/run", {}, "no credentials of Google Cloud"),
        ("gs://bucket/run", {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}, "Connection refused|Max retries"),
        ("hdfs://127.0.0.1:1/run", {}, "Connection refused|Max retries"),
        (
            "s3://bucket/run",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
            "Could not connect",
        ),
    ],
)
def test_no_credentials_and_no_server_are_reported_soon(url, more, message, cache, monkeypatch):
    set_environment(monkeypatch, more)
    start = time.monotonic()
    refusals(url, message)
    assert time.monotonic() - start < 60


def test_what_s3_refuses_is_said_with_its_reason(cache, monkeypatch):
    reply = (0, "", b"")
    with answering(lambda *_: reply) as address:
        lead_to(address, monkeypatch)
        for status, code, message in (
            (400, "ExpiredToken", "credentials that have expired .*Fix: renew them"),
            (403, "InvalidAccessKeyId", "credentials that are not valid .*Fix: set AWS_ACCESS_KEY_ID"),
            (403, "SignatureDoesNotMatch", "credentials that are not valid"),
            (403, "AccessDenied", "credentials that do not allow this"),
            (404, "NoSuchBucket", "no such bucket"),
            (500, "InternalError", "InternalError"),
        ):
            error = f"<Error><Code>{code}</Code><Message>text</Message></Error>"
            reply = (status, "application/xml", error.encode())
            refusals("s3://bucket/run", message)


def test_what_google_cloud_storage_refuses_is_said_with_its_reason(cache, monkeypatch):
    reply = (0, "", b"")
    with answering(lambda *_: reply) as address:
        lead_to(address, monkeypatch)
        for status, message in (
            (401, "no credentials of Google Cloud"),
            (403, "credentials that do not allow this .*text"),
            (404, "no such bucket"),
            (503, "text"),
        ):
            error = {"error": {"code": status, "message": "text"}}
            reply = (status, "application/json", json.dumps(error).encode())
            refusals("gs://bucket/run", message)


def test_an_account_of_google_cloud_whose_key_was_withdrawn_is_refused(tmp_path, cache, monkeypatch):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    reply = (400, "application/json", b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}')
    with answering(lambda *_: reply) as address:
        account = {"type": "service_account", "client_email": "a@b", "private_key": key.decode(), "project_id": "p"}
        (tmp_path / "key.json").write_text(json.dumps({**account, "token_uri": f"{address}/token"}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        refusals("gs://bucket/run", "credentials that are not valid any more.*invalid_grant.*gcloud auth")


def test_a_bucket_that_may_only_be_read_is_read_and_not_written(tmp_path, cache, monkeypatch):
    with store_server("s3", tmp_path) as (bucket, variables):
        set_environment(monkeypatch, variables)
        open_store(at(f"{bucket}/log")).write("dataset.json", b"{}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown")
        set_environment(monkeypatch, read_only_user(variables["AWS_ENDPOINT_URL"]))
        ReadCopy(at(f"{bucket}/log")).check()
        with pytest.raises(StoreError, match="credentials that do not allow this.*AccessDenied.*give this identity"):
            WorkingCopy(at(f"{bucket}/run")).check()
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        refusals(f"{bucket}/log", "credentials that are not valid")


def test_a_bucket_of_google_cloud_that_may_only_be_read_is_not_written(cache, monkeypatch):
    denied = (403, "application/json", b'{"error": {"code": 403, "message": "no storage.objects.create access"}}')
    reply = (
        200,
        "application/json",
        b'{"items": [{"name": "run/a", "size": "1", "generation": "1", "updated": "2026-01-01T00:00:00Z"}]}',
    )
    missing = (404, "application/json", b'{"error": {"code": 404, "message": "none"}}')
    with answering(lambda method, path: denied if method == "POST" else missing if "/o/" in path else reply) as address:
        lead_to(address, monkeypatch)
        ReadCopy(at("gs://bucket/run")).check()
        with pytest.raises(StoreError, match="credentials that do not allow this .*storage.objects.create"):
            WorkingCopy(at("gs://bucket/run")).check()


def test_a_folder_of_hdfs_that_another_user_has_is_not_written(tmp_path, cache, monkeypatch):
    with store_server("hdfs", tmp_path) as (folder, variables):
        set_environment(monkeypatch, {**variables, "HADOOP_USER_NAME": "guest"})
        with pytest.raises(StoreError, match="do not allow this.*Permission denied.*HADOOP_USER_NAME"):
            WorkingCopy(at(f"{folder}/run")).check()


@pytest.mark.parametrize("scheme", ["s3", "gs", "hdfs"])
def test_a_server_that_never_answers_is_left_in_time(scheme, cache, monkeypatch):
    # The longest: three attempts of S3's client with pauses; another attempt of Google's when its time is nearly up.
    assert 3 * clients.READ_S + 5.0 < 60 and 20.0 + clients.READ_S < 60
    monkeypatch.setattr(clients, "READ_S", 0.2)
    with answering(lambda *_: None) as address:
        lead_to(address, monkeypatch)
        start = time.monotonic()
        refusals(f"{scheme}://{'bucket' if scheme != 'hdfs' else address.removeprefix('http://')}/run", "[Tt]ime")
        assert time.monotonic() - start < 2 * (3 * 0.2 + 5.0)
