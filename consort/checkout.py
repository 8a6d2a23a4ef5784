"""Makes `consort.models` and its like importable in a checkout, as they are in the wheel."""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from transforms.packages import PACKAGES, PREFIX


class PackageAlias(MetaPathFinder, Loader):
    """Finds `consort.models.layers.mlp` as the module `models.layers.mlp`: one module under two names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent, _, module = name.partition(".")
        if parent == "consort" and module.partition(".")[0] in PACKAGES:
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(spec.name.removeprefix("consort."))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the alias's spec here; the module is one already, and keeps its own.
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__ = module.__spec__.loader_state


def alias_packages() -> None:
    """Install the alias; nothing to do in an installed wheel, where the packages stand below `consort`."""
    if not PREFIX and not any(isinstance(finder, PackageAlias) for finder in sys.meta_path):
        # First: a package that is aliased already would offer its modules to the usual finder, as a second copy.
        sys.meta_path.insert(0, PackageAlias())
