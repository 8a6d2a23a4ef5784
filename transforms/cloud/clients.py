"""The clients of S3, Google Cloud Storage and HDFS, the same ones that Beam uses."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transforms.cloud.store import Entry, Store, StoreError, Url, below, check_size, refusal
from transforms.errors import MissingPart

CONNECT_S, READ_S = 5.0, 15.0
"""Seconds that a connection, and one answer, may take; after three attempts less than a minute has passed."""
_RETRY_S = 20.0
_INSTALL = "pip install 'consort-recommenders[cloud]'"


def open_store(url: Url, look: bool = True) -> Store:
    """Returns the store at a URL.

    Args:
      url: a folder or a file.
      look: make a first call that shows that it can be reached.

    Raises:
      MissingPart: its client is not installed.
      StoreError: there is no such bucket, there are no valid credentials, or it cannot be reached.
    """
    store = _STORES[url.scheme](url)
    if look:
        store.look()
    return store


class _S3:
    """`boto3`: credentials, region and `AWS_ENDPOINT_URL` as for the AWS command line."""

    def __init__(self, url: Url):
        try:
            import boto3  # noqa: F401
        except ImportError as error:
            raise MissingPart("boto3, the client of S3,", _INSTALL) from error
        self._url, self._prefix = url, f"{url.key}/" if url.key else ""
        with self._explained():
            self._client = _s3_client(tuple(value for name, value in os.environ.items() if name.startswith("AWS_")))

    def look(self) -> None:
        with self._explained():
            self._client.list_objects_v2(Bucket=self._url.bucket, Prefix=self._url.key, MaxKeys=1)

    def list(self) -> dict[str, Entry]:
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._url.bucket, Prefix=self._url.key
            )
            objects = [one for page in pages for one in page.get("Contents", ())]
        return below(
            self._url.key,
            {one["Key"]: Entry(one["Size"], one["ETag"], one["LastModified"].timestamp()) for one in objects},
        )

    def get(self, name: str, path: Path) -> None:
        with self._explained(name):
            self._client.download_file(self._url.bucket, self._key(name), str(path))

    def put(self, path: Path, name: str) -> None:
        # boto3 sends a checksum with each part, which the store compares.
        with self._explained(name):
            self._client.upload_file(str(path), self._url.bucket, self._key(name))
            size = self._client.head_object(Bucket=self._url.bucket, Key=self._key(name))["ContentLength"]
        check_size(f"{self._url}/{name}", size, path)

    def read(self, name: str) -> bytes | None:
        from botocore.exceptions import ClientError

        with self._explained(name):
            try:
                return bytes(self._client.get_object(Bucket=self._url.bucket, Key=self._key(name))["Body"].read())
            except ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise

    def write(self, name: str, content: bytes) -> None:
        with self._explained(name):
            self._client.put_object(Bucket=self._url.bucket, Key=self._key(name), Body=content)

    def create(self, name: str, content: bytes) -> bool:
        from botocore.exceptions import ClientError

        with self._explained(name):
            try:
                self._client.put_object(Bucket=self._url.bucket, Key=self._key(name), Body=content, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict", "412"):
                    return False
                raise
        return True

    def delete(self, name: str) -> None:
        with self._explained(name):
            self._client.delete_object(Bucket=self._url.bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}" if name else self._url.key

    @contextlib.contextmanager
    def _explained(self, name: str = "") -> Iterator[None]:
        from boto3.exceptions import S3UploadFailedError
        from botocore import exceptions

        try:
            yield
        except exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            raise self._refused(code, str(error), name) from error
        except S3UploadFailedError as error:  # Its text alone has the code.
            code = next((code for code in _REFUSALS if code in str(error)), "")
            raise self._refused(code, str(error), name) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise refusal(self._url, f"no credentials of AWS ({error})", _FIX_AWS) from error
        except exceptions.BotoCoreError as error:  # No connection, no region, an expired login, a bad profile.
            raise refusal(self._url, f"{type(error).__name__}: {error}", f"check the network; {_FIX_AWS}") from error

    def _refused(self, code: str, text: str, name: str) -> StoreError:
        received, fix = _REFUSALS.get(code, (text, _FIX_AWS))
        return refusal(self._url, f"{received} ({text})" if received != text else text, fix, name)


@functools.cache
def _s3_client(_: tuple[str, ...]) -> Any:
    """Returns a client, which takes a second to make, for the environment of that moment."""
    from boto3.session import Session
    from botocore.config import Config

    config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 3})
    return Session().client("s3", config=config)


_FIX_AWS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for another store AWS_ENDPOINT_URL"
_FIX_BUCKET = "correct its name, or create the bucket"
_NOT_VALID = ("credentials that are not valid", _FIX_AWS)
_EXPIRED = ("credentials that have expired", "renew them, e.g. by aws sso login, and run the command again")
_DENIED = ("credentials that do not allow this", "give this identity the rights to list, read, write and delete there")
_REFUSALS: Mapping[str, tuple[str, str]] = {
    "NoSuchBucket": ("no such bucket", _FIX_BUCKET),
    "404": ("no such bucket", _FIX_BUCKET),
    "InvalidBucketName": ("a name that is no bucket's", _FIX_BUCKET),
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "InvalidAccessKeyId": _NOT_VALID,
    "SignatureDoesNotMatch": _NOT_VALID,
    "InvalidToken": _NOT_VALID,
    "AccessDenied": _DENIED,
    "403": _DENIED,
}


class _Gcs:
    """`google-cloud-storage`: application default credentials; an emulator by `STORAGE_EMULATOR_HOST`."""

    def __init__(self, url: Url):
        try:
            from google.cloud import storage
            from google.cloud.storage.retry import DEFAULT_RETRY
        except ImportError as error:
            raise MissingPart("google-cloud-storage", _INSTALL) from error
        self._url, self._prefix = url, f"{url.key}/" if url.key else ""
        self._limits: dict[str, Any] = {
            "timeout": (CONNECT_S, READ_S),
            "retry": DEFAULT_RETRY.with_timeout(_RETRY_S),
        }
        # Without a project: buckets have names of their own in all of Google Cloud.
        os.environ.setdefault("GCE_METADATA_TIMEOUT", "3")
        with self._explained():
            self._client = storage.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT", "none"))
            self._bucket = self._client.bucket(url.bucket)

    def look(self) -> None:
        with self._explained():
            found = self._client.list_blobs(self._bucket, prefix=self._url.key, max_results=1, **self._limits)
            next(iter(found), None)

    def list(self) -> dict[str, Entry]:
        with self._explained():
            blobs = list(self._client.list_blobs(self._bucket, prefix=self._url.key, **self._limits))
        entries = {blob.name: Entry(blob.size, str(blob.generation), blob.updated.timestamp()) for blob in blobs}
        return below(self._url.key, entries)

    def get(self, name: str, path: Path) -> None:
        with self._explained(name):
            self._blob(name).download_to_filename(str(path), checksum="crc32c", **self._limits)

    def put(self, path: Path, name: str) -> None:
        blob = self._blob(name)
        with self._explained(name):
            blob.upload_from_filename(str(path), checksum="crc32c", **self._limits)
            blob.reload(**self._limits)
        check_size(f"{self._url}/{name}", blob.size, path)

    def read(self, name: str) -> bytes | None:
        from google.api_core.exceptions import NotFound

        with self._explained(name):
            try:
                return bytes(self._blob(name).download_as_bytes(**self._limits))
            except NotFound:
                return None

    def write(self, name: str, content: bytes) -> None:
        with self._explained(name):
            self._blob(name).upload_from_string(content, "application/json", **self._limits)

    def create(self, name: str, content: bytes) -> bool:
        from google.api_core.exceptions import PreconditionFailed

        with self._explained(name):
            try:
                self._blob(name).upload_from_string(content, "application/json", if_generation_match=0, **self._limits)
            except PreconditionFailed:
                return False
        return True

    def delete(self, name: str) -> None:
        from google.api_core.exceptions import NotFound

        with self._explained(name), contextlib.suppress(NotFound):
            self._blob(name).delete(**self._limits)

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(f"{self._prefix}{name}" if name else self._url.key)

    @contextlib.contextmanager
    def _explained(self, name: str = "") -> Iterator[None]:
        import requests
        from google.api_core import exceptions
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.resumable_media.common import InvalidResponse

        try:
            yield
        except DefaultCredentialsError as error:
            raise refusal(self._url, "no credentials of Google Cloud", _FIX_GOOGLE) from error
        except GoogleAuthError as error:
            raise refusal(self._url, f"credentials that are not valid any more ({error})", _FIX_GOOGLE) from error
        except exceptions.NotFound as error:
            raise refusal(self._url, f"no such bucket ({error.message})", _FIX_BUCKET, name) from error
        except exceptions.Unauthorized as error:
            raise refusal(self._url, f"credentials that are not valid ({error.message})", _FIX_GOOGLE, name) from error
        except exceptions.Forbidden as error:
            raise refusal(self._url, f"{_DENIED[0]} ({error.message})", _DENIED[1], name) from error
        except (exceptions.GoogleAPIError, InvalidResponse, requests.RequestException, ConnectionError) as error:
            fix = "check the network, and STORAGE_EMULATOR_HOST if it is set"
            raise refusal(self._url, f"{type(error).__name__}: {error}", fix, name) from error


_FIX_GOOGLE = (
    "run gcloud auth application-default login, or name a service account's key by GOOGLE_APPLICATION_CREDENTIALS"
)


class _Hdfs:
    """WebHDFS by `hdfs`: `hdfs://namenode:9870/path`, the port being that of the name node's HTTP server."""

    def __init__(self, url: Url):
        try:
            from hdfs import InsecureClient
        except ImportError as error:
            raise MissingPart("hdfs, the client of WebHDFS,", _INSTALL) from error
        self._url, self._root = url, f"/{url.key}"
        address = url.bucket if ":" in url.bucket else f"{url.bucket}:9870"
        user = os.environ.get("HADOOP_USER_NAME")
        with self._explained():
            self._client = InsecureClient(f"http://{address}", user=user, timeout=(CONNECT_S, READ_S))

    def look(self) -> None:
        with self._explained():
            self._client.status(self._root, strict=False)

    def list(self) -> dict[str, Entry]:
        entries = {}
        with self._explained():
            status = self._client.status(self._root, strict=False)
            if status is None:
                return {}
            if status["type"] == "FILE":
                return {"": _hdfs_entry(status)}
            for (folder, _), _, files in self._client.walk(self._root, status=True):
                for name, one in files:
                    entries[os.path.relpath(f"{folder}/{name}", self._root)] = _hdfs_entry(one)
        return entries

    def get(self, name: str, path: Path) -> None:
        reader = self._client.read(self._path(name), chunk_size=1 << 20)
        with self._explained(name), reader as chunks, open(path, "wb") as file:
            for chunk in chunks:
                file.write(chunk)

    def put(self, path: Path, name: str) -> None:
        folder, _, last = self._path(name).rpartition("/")
        temporary = f"{folder}/.{last}.copying"
        with self._explained(name):
            with open(path, "rb") as file:
                self._client.write(temporary, file, overwrite=True)
            size = self._client.status(temporary)["length"]
            check_size(f"{self._url}/{name}", size, path)
            self._client.delete(self._path(name))
            self._client.rename(temporary, self._path(name))

    def read(self, name: str) -> bytes | None:
        with self._explained(name):
            if self._client.status(self._path(name), strict=False) is None:
                return None
            with self._client.read(self._path(name)) as reader:
                return bytes(reader.read())

    def write(self, name: str, content: bytes) -> None:
        with self._explained(name):
            self._client.write(self._path(name), content, overwrite=True)

    def create(self, name: str, content: bytes) -> bool:
        from hdfs.util import HdfsError

        with self._explained(name):
            try:
                self._client.write(self._path(name), content, overwrite=False)
            except HdfsError as error:
                if "FileAlreadyExists" in f"{error.exception}{error}" or "already exists" in str(error):
                    return False
                raise
        return True

    def delete(self, name: str) -> None:
        with self._explained(name):
            self._client.delete(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else self._root

    @contextlib.contextmanager
    def _explained(self, name: str = "") -> Iterator[None]:
        import requests
        from hdfs.util import HdfsError

        try:
            yield
        except HdfsError as error:
            denied = "Permission denied" in str(error) or "AccessControl" in f"{error.exception}"
            fix = "set HADOOP_USER_NAME to a user who may" if denied else "correct the path, or see the name node's log"
            raise refusal(self._url, f"{_DENIED[0]} ({error})" if denied else str(error), fix, name) from error
        except (requests.RequestException, ConnectionError) as error:
            fix = "give the name node's HTTP address, e.g. hdfs://namenode:9870/path, and check the network"
            raise refusal(self._url, f"{type(error).__name__}: {error}", fix, name) from error


_STORES: dict[str, Any] = {"gs": _Gcs, "s3": _S3, "hdfs": _Hdfs}


def _hdfs_entry(status: Mapping[str, Any]) -> Entry:
    milliseconds = status["modificationTime"]
    return Entry(int(status["length"]), f"{milliseconds}-{status.get('fileId', '')}", milliseconds / 1e3)
