"""All results of a grid in one file."""

from pathlib import Path
from typing import Any

from experiments import results_file
from experiments.cs3.grid import CS3Grid

RESULTS_FILE = "cs3.json"


def read_results(folder: Path) -> dict[str, Any]:
    """The results that a finished grid left in a folder.

    Raises:
      InputError: there are none, or they are no results of ours.
    """
    return results_file.read_results(folder / RESULTS_FILE, CS3Grid, "consort table cs3")
