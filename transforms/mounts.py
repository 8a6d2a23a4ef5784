"""Buckets that are mounted as folders: Vertex AI shows `gs://bucket/key` at `/gcs/bucket/key` in every container.

The nodes of a compiled pipeline are given URIs. TFX's own nodes read them through TensorFlow and Beam; ours work on the
mounted folder.
"""

import os
from typing import TypeVar

from transforms.errors import InputError

MOUNT_VARIABLE = "CONSORT_GCS_MOUNT"
"""Environment variable that names another folder than `/gcs`."""
_SCHEME = "gs://"

_Value = TypeVar("_Value")


def mounted(value: _Value) -> _Value:
    """Replaces each `gs://bucket/key` by its path in the mounted folder; other paths stay as they are.

    Args:
      value: a path, or dictionaries and lists that hold paths.

    Raises:
      InputError: the bucket is not mounted.
    """
    if isinstance(value, dict):
        return type(value)({key: mounted(item) for key, item in value.items()})
    if isinstance(value, list):
        return type(value)(mounted(item) for item in value)
    if isinstance(value, str) and value.startswith(_SCHEME):
        return type(value)(_mounted(value))
    return value


def _mounted(uri: str) -> str:
    folder = os.environ.get(MOUNT_VARIABLE, "/gcs")
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    if not os.path.isdir(os.path.join(folder, bucket)):
        fix = f"mount it with Cloud Storage FUSE, as Vertex AI does, or name another folder by {MOUNT_VARIABLE}"
        raise InputError(uri, f"no folder {os.path.join(folder, bucket)}", "a bucket that is mounted", fix)
    return os.path.join(folder, bucket, key)
