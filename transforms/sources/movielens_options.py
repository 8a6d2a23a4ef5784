"""What a MovieLens import can be told, and the fields of its raw files."""

from pydantic import Field, model_validator

from transforms.sources.row_options import RowOptions, numbered
from transforms.sources.text_format import KEY, TEXT, FieldKind, TextFormat

_RATING = FieldKind(r"0\.5|[1-4](?:\.[05])?|5(?:\.0)?", "a rating of 0.5 to 5 in halves", "float")
_RATINGS = {"userId": KEY, "movieId": KEY, "rating": _RATING, "timestamp": KEY}
_MOVIES = {"movieId": KEY, "title": TEXT, "genres": TEXT}
LAYOUTS = {
    "csv": (TextFormat(_RATINGS), TextFormat(_MOVIES, quoted=True)),
    "dat": (TextFormat(_RATINGS, "::", header=False), TextFormat(_MOVIES, "::", header=False)),
}
"""Formats of the ratings and of the movies by the files' suffix; `dat` is that of 1M and 10M."""
NO_GENRE = "(no genres listed)"
GENRES = numbered("genre", 3)


class MovielensOptions(RowOptions):
    """Options of a MovieLens import.

    Args:
      history_length: well rated films kept, the most recent ones; at most 50.
      frequency_threshold: users and films seen less often in the training split are out of vocabulary.
      positive_rating: a rating of at least so much is label 1, and puts the film into the histories.
      eval_share, test_share: of the ratings in order of time, the last `test_share` are `test`, the
        `eval_share` before them `eval`, the rest `train`; ratings of one second are never parted.
    """

    positive_rating: float = Field(default=4.0, gt=0, le=5)
    eval_share: float = Field(default=0.1, gt=0, lt=1)
    test_share: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _some_for_training(self) -> "MovielensOptions":
        if self.eval_share + self.test_share >= 1:
            raise ValueError("eval_share + test_share below 1, so that some ratings are left for training")
        return self
