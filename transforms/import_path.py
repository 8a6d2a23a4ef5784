"""Finds classes by short name, entry point or import path, and the known name nearest to a misspelled one."""

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TypeVar

from transforms.errors import InputError

_Class = TypeVar("_Class")


@dataclass(frozen=True)
class Registry:
    """Classes of one kind by name; open to classes from elsewhere.

    A name is, in this order: a key of `built_in`; an entry point of `group`, which an installed package declares
    (`[project.entry-points."consort.sources"]`, then `clicks = "my_package.clicks:Clicks"`); or an import path,
    `package.module.Class`, found in the installed packages and in the working directory.

    Args:
      kind: `source`, `model` or `recipe`, for messages.
      group: of entry points: `consort.sources`, `consort.models` or `consort.recipes`.
      built_in: short names and import paths of the classes that come with Consort.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]

    def paths(self) -> dict[str, str]:
        """Import paths by short name: the built-in ones, then those of entry points, in alphabetical order."""
        installed = {point.name: point.value.replace(":", ".") for point in entry_points(group=self.group)}
        return {**self.built_in, **{name: installed[name] for name in sorted(installed.keys() - self.built_in.keys())}}

    def find(self, name: str, base: type[_Class]) -> type[_Class]:
        """Return the class called `name`, a subclass of `base`.

        Raises:
          InputError: there is no such name or module, or it is something else; the nearest known name is suggested.
        """
        path = self.built_in.get(name) or self.paths().get(name, name)
        module_name, _, class_name = path.rpartition(".")
        if not module_name:
            paths = self.paths()
            expected = f"one of {', '.join(paths)}, or an import path, package.module.Class"
            raise InputError(self.kind, repr(name), expected, nearest(name, paths))
        where = f"{self.kind} {name!r}"
        _make_working_directory_importable()
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            fix = "check the path; it is looked up in the installed packages and in the working directory"
            raise InputError(where, str(error), "a module that can be imported", fix) from error
        result = getattr(module, class_name, None)
        if result is None:
            classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
            expected = f"a class of module {module_name!r}"
            raise InputError(where, f"no {class_name!r} there", expected, nearest(class_name, classes))
        if not (inspect.isclass(result) and issubclass(result, base)):
            parent = f"{base.__module__.partition('.src')[0]}.{base.__qualname__}"
            raise InputError(where, repr(result), f"a subclass of {parent}", "derive it from that")
        return result


def nearest(name: str, known: Iterable[str]) -> str:
    """Return advice for a name that is not known, beside a list of those that are: the nearest one, if one is near."""
    known = list(known)
    matches = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {matches[0]!r}?" if matches else "choose one of these" if known else "leave it out"


def _make_working_directory_importable() -> None:
    # Last, so that nothing there hides an installed package; a console script does not have it.
    if not {"", os.getcwd()}.intersection(sys.path):
        sys.path.append(os.getcwd())
