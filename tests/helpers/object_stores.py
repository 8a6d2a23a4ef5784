"""Servers of S3, Google Cloud Storage and WebHDFS, each a process of its own, with a bucket `bucket`."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from transforms.cloud.store import parse_url

NO_GCS = (
    "fake-gcs-server is not on PATH: go install github.com/fsouza/fake-gcs-server@latest, and add $(go env GOPATH)/bin"
)
WITHOUT_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_PROFILE": None,
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_EC2_METADATA_DISABLED": "true",
    "GOOGLE_APPLICATION_CREDENTIALS": None,
    "CLOUDSDK_CONFIG": "/nowhere",
    "NO_GCE_CHECK": "true",
    "STORAGE_EMULATOR_HOST": None,
    "AWS_ENDPOINT_URL": None,
}


def at(text):
    return parse_url(text)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def store_server(scheme, folder):
    """Starts the server of a scheme.

    Returns:
      The URL of its bucket, and the environment that leads clients to it.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    if scheme == "s3":
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        known = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        environment = {**known, "AWS_ENDPOINT_URL": address}
    elif scheme == "gs":
        program = shutil.which("fake-gcs-server")
        if program is None:
            pytest.skip(NO_GCS)
        command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host"]
        command += [f"127.0.0.1:{port}", "-backend", "memory", "-external-url", address]
        environment = {"STORAGE_EMULATOR_HOST": address}
    else:
        command = [sys.executable, str(Path(__file__).with_name("web_hdfs.py")), str(port), str(folder)]
        environment = {"HADOOP_USER_NAME": "tester"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            _make_bucket(scheme, address)
            yield (f"hdfs://127.0.0.1:{port}/bucket" if scheme == "hdfs" else f"{scheme}://bucket"), environment
        finally:
            process.terminate()


def _wait(port, process):
    deadline = time.monotonic() + 60.0
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no server: {process.args}")


def _make_bucket(scheme, address):
    if scheme == "s3":
        urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"), timeout=30).close()
    elif scheme == "gs":
        body = b'{"name": "bucket"}'
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{address}/storage/v1/b?project=test", body, headers, method="POST")
        urllib.request.urlopen(request, timeout=30).close()


def set_environment(monkeypatch, values):
    """Sets variables, and removes those whose value is None."""
    for name, value in values.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)


def environment(values):
    """Returns the environment of a child process with these values."""
    return {name: value for name, value in {**os.environ, **values}.items() if value is not None}


@contextlib.contextmanager
def answering(answer):
    """Starts a server in this process.

    Args:
      answer: takes method and path, and returns status, content type and content; None: the client gets no answer.

    Returns:
      Its address.
    """
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def __getattr__(self, name):
            if not name.startswith("do_"):
                raise AttributeError(name)
            return self._answer

        def _answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if (reply := answer(self.command, self.path)) is None:
                ended.wait()
                return
            status, content_type, content = reply
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            ended.set()
            server.shutdown()


def read_only_user(address):
    """Makes a user who may list and read the bucket of a server of S3, and makes the server look at rights from now on.

    Returns:
      The user's credentials, as variables.
    """
    import boto3

    known = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    iam = boto3.client("iam", endpoint_url=address, **known)
    iam.create_user(UserName="reader")
    allowed = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [allowed]}
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    headers = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{address}/moto-api/reset-auth", b"0", headers, method="POST")
    urllib.request.urlopen(request, timeout=30).close()
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
