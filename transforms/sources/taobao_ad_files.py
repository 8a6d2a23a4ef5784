"""TaobaoAd's raw files."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from transforms.sources.member_table import MemberTable, read_members
from transforms.sources.row_options import existing_folder, required_file
from transforms.sources.taobao_ad_options import (
    AD_TABLE,
    ADS,
    BEHAVIOUR_TABLE,
    BEHAVIOURS,
    PROFILE_TABLE,
    PROFILES,
    SAMPLE,
    SAMPLE_TABLE,
    UTC_OFFSET,
)
from transforms.sources.text_table import check_text

_EXPECTED = f"{SAMPLE}, {ADS} and {PROFILES}; {BEHAVIOURS} besides for histories"


@dataclass(frozen=True)
class TaobaoAdFiles:
    """Where the files are; `behaviours` is None where there is no such file."""

    sample: Path
    ads: Path
    profiles: Path
    behaviours: Path | None

    @property
    def all(self) -> list[Path]:
        """Those that are there."""
        return [self.sample, self.ads, self.profiles, *([self.behaviours] if self.behaviours else [])]


def find_files(input_dir: str | os.PathLike[str]) -> TaobaoAdFiles:
    """The files of a folder.

    Raises:
      InputError: one of the three that are needed is missing.
    """
    folder = existing_folder(input_dir, _EXPECTED)
    sample, ads, profiles = (required_file(folder, [name], _EXPECTED) for name in (SAMPLE, ADS, PROFILES))
    behaviours = folder / BEHAVIOURS
    return TaobaoAdFiles(sample, ads, profiles, behaviours if behaviours.is_file() else None)


def check_files(input_dir: str | os.PathLike[str]) -> None:
    """Looks at the first lines of the files.

    Raises:
      InputError: what is wrong.
    """
    files = find_files(input_dir)
    for path, text_format in zip(files.all, (SAMPLE_TABLE, AD_TABLE, PROFILE_TABLE, BEHAVIOUR_TABLE), strict=False):
        check_text(path, text_format)


def read_ads(files: TaobaoAdFiles) -> MemberTable:
    """What is known of ads.

    Raises:
      InputError: a line is malformed.
    """
    return MemberTable(*read_members(files.ads, AD_TABLE, "adgroup_id"))


def read_profiles(files: TaobaoAdFiles) -> MemberTable:
    """What is known of users.

    Raises:
      InputError: a line is malformed.
    """
    return MemberTable(*read_members(files.profiles, PROFILE_TABLE, "userid"))


def midnight(day: str) -> int:
    """The first second of a day of China."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) - UTC_OFFSET
