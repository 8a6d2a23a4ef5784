"""Errors of pydantic in plain words, and what stands at a path."""

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from transforms.places import kind_of
from transforms.validation import as_input_error, input_error


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: int = Field(default=1, ge=1, lt=100)
    rate: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    kind: Literal["plain", "fancy"] = "plain"
    flag: bool = True
    names: tuple[str, ...] = ()
    word: str = Field(default="a", pattern="^[a-z]+$")

    @field_validator("names")
    @classmethod
    def _check(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "x" in names:
            raise ValueError("names hold x; expected other names; rename it")
        return names


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": "many"}, "file, key 'count': received 'many'; expected a whole number. Fix: correct the value"),
        ({"count": 0}, "file, key 'count': received 0; expected 1 or more. Fix: correct the value"),
        ({"count": 100}, "file, key 'count': received 100; expected less than 100. Fix: correct the value"),
        ({"count": None}, "file, key 'count': received null; expected a whole number. Fix: correct the value"),
        ({"rate": "x"}, "file, key 'rate': received 'x'; expected a number. Fix: correct the value"),
        ({"rate": 0.0}, "file, key 'rate': received 0.0; expected more than 0.0. Fix: correct the value"),
        ({"rate": float("inf")}, "file, key 'rate': received inf; expected a finite number. Fix: correct the value"),
        ({"kind": "x"}, "file, key 'kind': received 'x'; expected one of 'plain', 'fancy'. Fix: correct the value"),
        ({"flag": "x"}, "file, key 'flag': received 'x'; expected true or false. Fix: correct the value"),
        ({"names": 3}, "file, key 'names': received 3; expected a list. Fix: correct the value"),
        ({"names": [3]}, "file, key 'names.0': received 3; expected text. Fix: put it in quotes"),
        ({"names": ["x"]}, "file, key 'names': received names hold x; expected other names. Fix: rename it"),
        ({"word": "A"}, "file, key 'word': received 'A'; expected text of the form ^[a-z]+$. Fix: correct the value"),
        ({"cont": 1}, "file, key 'cont': received an unknown key; expected one of count. Fix: did you mean 'count'?"),
    ],
)  # fmt: skip
def test_an_error_says_what_was_received_and_expected_without_pydantics_words(values, message):
    with pytest.raises(ValidationError) as refused:
        _Section.model_validate(values)
    assert str(input_error(refused.value, "file", ["count"])) == message


def test_a_constructors_sentence_is_taken_apart():
    error = as_input_error(ValueError("peers is 1; expected 2 or more, as in the paper; raise it"), "recipe", "x", "y")
    assert str(error) == "recipe: received peers is 1; expected 2 or more, as in the paper. Fix: raise it"
    assert (
        str(as_input_error(ValueError("broken"), "recipe", "x", "y")) == "recipe: received broken; expected x. Fix: y"
    )


def test_what_stands_at_a_path_is_named(tmp_path):
    def made(*files):
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()

    made("notes.txt", "data/dataset.json", "run/run.json", "done/run.json", "done/model/saved_model.pb")
    made("export/saved_model.pb", "root/metadata.sqlite", "search/search.json")
    (tmp_path / "empty").mkdir()
    assert {name: kind_of(tmp_path / name) for name in ("nothing", "notes.txt", "data", "run", "done")} == {
        "nothing": "no such file or folder",
        "notes.txt": "a file",
        "data": "a dataset",
        "run": "a run that has not ended",
        "done": "a finished run",
    }
    assert kind_of(tmp_path / "export") == "an exported model" and kind_of(tmp_path / "empty") == "an empty folder"
    assert kind_of(tmp_path / "root") == "the root of a pipeline" and kind_of(tmp_path) == "a folder of other files"
