"""A world for tiny grids, and what ends a runner in its middle."""

from collections.abc import Callable

WORLD = {
    "users": 40, "items": 60, "candidates": 10, "min_candidates": 8, "pool_size": 20, "ranked_items": 6,
    "exposed_items": 3, "history_length": 5, "block_requests": 32, "base_logit": -0.5,
}  # fmt: skip
# With fewer features all graphs are built faster.
FEW_FEATURES = (
    "features.drop=[user_segment,user_age_bucket,device,hour_of_day,day_of_week,item_category,item_age_hours,"
    "item_impressions_so_far,item_clicks_so_far]"
)


class Killed(BaseException):
    """In place of SIGKILL."""


def kill_after(cells: int) -> Callable[[str], None]:
    """Listens to a runner and ends it after this number of cells."""

    def listen(text: str) -> None:
        if text.startswith(f"[{cells}/"):
            raise Killed

    return listen
