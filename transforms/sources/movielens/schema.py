"""MovieLens: ratings of films by users, in order of time."""

from pydantic import Field, model_validator

from transforms.features import Column, Encoding, Feature, FeatureSet
from transforms.sources.base import Source
from transforms.sources.options import RowOptions, columns, features, history_column, numbered, vocabularies
from transforms.sources.text_format import KEY, TEXT, FieldKind, TextFormat

_RATING = FieldKind(r"0\.5|[1-4](?:\.[05])?|5(?:\.0)?", "a rating of 0.5 to 5 in halves", "float")
_RATINGS = {"userId": KEY, "movieId": KEY, "rating": _RATING, "timestamp": KEY}
_MOVIES = {"movieId": KEY, "title": TEXT, "genres": TEXT}
LAYOUTS = {
    "csv": (TextFormat(_RATINGS), TextFormat(_MOVIES, quoted=True)),
    "dat": (TextFormat(_RATINGS, "::", header="none"), TextFormat(_MOVIES, "::", header="none")),
}
"""Formats of the ratings and of the movies by the files' suffix; `dat` is that of 1M and 10M."""
NO_GENRE = "(no genres listed)"
GENRES = numbered("genre", 3)


class MovielensOptions(RowOptions):
    """Options of a MovieLens import.

    Args:
      history_length: well rated films kept, the most recent ones; at most 50.
      frequency_threshold: users and films seen less often in the training split are out of vocabulary.
      positive_rating: the least rating with label 1, which also puts the film into the histories.
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


HISTORY = "history_item_id"


class Movielens(Source[MovielensOptions]):
    """Rows, one a rating, of MovieLens.

    Read are `ratings.csv` and `movies.csv` (latest, 20M, 25M, 32M), or `ratings.dat` and `movies.dat` with `::`
    between fields (1M, 10M).

    The label says whether a user who rated a film rated it well (`positive_rating`); `rating` itself stands
    in the records and is no model input. A film without a rating was not refused: nobody knows whether it
    was seen, so this is never click prediction. A history holds the films rated well strictly before. Of a
    film's genres the first three (they stand in alphabetical order) have a column each: lists are histories
    to the models. `year` is the first year in brackets at the end of the title.
    """

    name = "movielens"
    summary = "MovieLens: film ratings in order of time, for retrieval; rows"
    licence = "GroupLens: research, no redistribution without permission; cite Harper and Konstan 2015"
    where = "https://grouplens.org/datasets/movielens (ratings and movies, .csv or .dat)"

    def feature_set(self) -> FeatureSet:
        return FeatureSet(
            columns=(
                history_column(HISTORY, "string", self.options.history_length),
                *columns(GENRES, "string", "item"),
                Column(name="year", dtype="int64", entity="item"),
                Column(name="rating", dtype="float", entity="item", min_value=0.5, max_value=5, model_input=False),
            ),
            features=(
                Feature(name="user_id", encoding=Encoding.ID),
                Feature(name=HISTORY, encoding=Encoding.ID, vocabulary="item_id"),
                Feature(name="item_id", encoding=Encoding.ID),
                *features(GENRES, vocabulary="genre"),
                Feature(name="year", encoding=Encoding.QUANTILE),
            ),
            vocabularies=vocabularies(("user_id", "item_id"), self.options.frequency_threshold),
            requires_item_id=True,
        )
