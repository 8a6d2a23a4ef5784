import pytest

from transforms.errors import InputError
from transforms.mounts import MOUNT_VARIABLE, mounted


@pytest.fixture(autouse=True)
def bucket(tmp_path, monkeypatch):
    (tmp_path / "bucket").mkdir()
    monkeypatch.setenv(MOUNT_VARIABLE, str(tmp_path))
    return tmp_path / "bucket"


def test_uris_become_paths_of_the_mounted_folder_wherever_they_stand(bucket):
    value = {"root": "gs://bucket/a b/c", "files": ["gs://bucket", "/local"], "number": 3, "none": None}
    assert mounted(value) == {"root": f"{bucket}/a b/c", "files": [f"{bucket}/", "/local"], "number": 3, "none": None}


def test_other_paths_stay_as_they_are():
    assert mounted("s3://bucket/x") == "s3://bucket/x" and mounted("gs:/bucket") == "gs:/bucket"


def test_a_bucket_that_is_not_mounted_is_refused():
    with pytest.raises(InputError, match="gs://other/x.*no folder.*other"):
        mounted("gs://other/x")
