"""Writes raw files of TaobaoAd's layout, for tests: the format, not the data."""

import os
from pathlib import Path

import numpy as np

from transforms.files import write_text
from transforms.portable_math import exp
from transforms.portable_random import normal
from transforms.sources.taobao_ad.read import midnight
from transforms.sources.taobao_ad.schema import ADS, BEHAVIOURS, FIRST_DAY, PROFILES, SAMPLE, USER_FIELDS

SAMPLE_HEADER = "user,time_stamp,adgroup_id,pid,nonclk,clk"
BEHAVIOUR_HEADER = "user,time_stamp,btag,cate,brand"
AD_HEADER = "adgroup_id,cate_id,campaign_id,customer,brand,price"
PROFILE_HEADER = f"userid,{','.join(USER_FIELDS)} "
"""As the real file has it, with a space behind the last name."""
_DAYS, _BEHAVIOUR_DAYS = 8, 14
_BTAGS = ("pv", "pv", "pv", "cart", "fav", "buy")


def write_taobao_ad_like(
    folder: str | os.PathLike[str], users: int, ads: int, shown: int, behaviours: int, seed: int = 0
) -> None:
    """Writes the four files; a click is likelier on an ad of a category that the user looked at.

    Args:
      folder: made where it is missing.
      users, ads: how many there are.
      shown: ads shown to each user over the eight days.
      behaviours: of each user, from two weeks before the first day on; 0 leaves `behavior_log.csv` out.
      seed: equal arguments give equal files.
    """
    rng = np.random.default_rng(seed)
    start, cates = midnight(FIRST_DAY), 12
    favourite = rng.integers(0, cates, users)
    sample, log = [SAMPLE_HEADER], [BEHAVIOUR_HEADER]
    for user in rng.permutation(np.repeat(np.arange(users), shown)).tolist():
        ad = int(rng.integers(ads))
        clicked = int(rng.random() < (0.4 if ad % cates == favourite[user] else 0.04))
        pid = ("430548_1007", "430539_1007")[user % 2]
        second = start + int(rng.integers(_DAYS * 86_400))
        sample.append(f"{user + 1},{second},{ad + 1},{pid},{1 - clicked},{clicked}")
    for user in rng.permutation(np.repeat(np.arange(users), behaviours)).tolist():
        cate = int(favourite[user]) if rng.random() < 0.7 else int(rng.integers(cates))
        second = start + int(rng.integers(-_BEHAVIOUR_DAYS * 86_400, _DAYS * 86_400))
        log.append(f"{user + 1},{second},{_BTAGS[int(rng.integers(6))]},{cate},{cate * 10}")
    prices = np.round(exp(5.0 + normal(rng, ads)), 1)
    features = [
        f"{ad + 1},{ad % cates},{ad // 2},{ad // 4},{'NULL' if ad % 5 == 0 else ad % cates * 10},{prices[ad]}"
        for ad in range(ads)
    ]
    profiles = [
        f"{user + 1},{user % 9},{user % 13},{1 + user % 2},{user % 7},{'' if user % 3 else 2},3,0,{user % 5 or ''}"
        for user in range(users)
    ]
    files = {SAMPLE: sample, ADS: [AD_HEADER, *features], PROFILES: [PROFILE_HEADER, *profiles]}
    for name, lines in (files | ({BEHAVIOURS: log} if behaviours else {})).items():
        write_text(Path(folder) / name, "\n".join(lines) + "\n")
