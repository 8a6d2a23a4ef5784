"""MovieLens: ratings of films by users, in order of time."""

import os
from typing import TYPE_CHECKING, Any, ClassVar

from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Vocabulary
from transforms.sources.base import Source, SourceOptions
from transforms.sources.movielens_options import GENRES, MovielensOptions
from transforms.sources.row_options import history_column

if TYPE_CHECKING:
    import apache_beam as beam

HISTORY = "history_item_id"


class Movielens(Source):
    """Rows, one a rating, of MovieLens.

    Read are `ratings.csv` and `movies.csv` (latest, 20M, 25M, 32M), or `ratings.dat` and `movies.dat` with `::`
    between fields (1M, 10M).

    The label says whether a user who rated a film rated it well (`positive_rating`); `rating` itself stands
    in the records and is no model input. A film without a rating was not refused: nobody knows whether it
    was seen, so this is never click prediction. A history holds the films rated well strictly before. Of a
    film's genres the first three (they stand in alphabetical order) have a column each: lists are histories
    to the models. `year` is the first year in brackets at the end of the title.
    """

    name: ClassVar[str] = "movielens"
    summary: ClassVar[str] = "MovieLens: film ratings in order of time, for retrieval; rows"
    licence: ClassVar[str] = "GroupLens: research, no redistribution without permission; cite Harper and Konstan 2015"
    where: ClassVar[str] = "https://grouplens.org/datasets/movielens (ratings and movies, .csv or .dat)"
    records: ClassVar[tuple[RecordKind, ...]] = ("row",)
    Options: ClassVar[type[SourceOptions]] = MovielensOptions
    options: MovielensOptions

    def feature_set(self) -> FeatureSet:
        options = self.options
        return FeatureSet(
            columns=(
                history_column(HISTORY, "string", options.history_length),
                *(Column(name=name, dtype="string", entity="item") for name in GENRES),
                Column(name="year", dtype="int64", entity="item"),
                Column(name="rating", dtype="float", entity="item", min_value=0.5, max_value=5, model_input=False),
            ),
            features=(
                Feature(name="user_id", encoding=Encoding.ID),
                Feature(name=HISTORY, encoding=Encoding.ID, vocabulary="item_id"),
                Feature(name="item_id", encoding=Encoding.ID),
                *(Feature(name=name, encoding=Encoding.ID, vocabulary="genre") for name in GENRES),
                Feature(name="year", encoding=Encoding.QUANTILE),
            ),
            vocabularies=tuple(
                Vocabulary(name=name, frequency_threshold=options.frequency_threshold)
                for name in ("user_id", "item_id")
            ),
            requires_item_id=True,
        )

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        from transforms.sources.movielens_files import check_files

        check_files(input_dir)

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.movielens_reader import MovielensReader
        from transforms.sources.user_rows import ReadUserRows

        return ReadUserRows(input_dir, MovielensReader(self.options))

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        from transforms.sources.movielens_files import find_files

        files = find_files(input_dir)
        return {**super().origin(input_dir), "files": [files.ratings.name, files.movies.name]}
