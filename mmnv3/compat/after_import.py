"""Runs an action right after a module has been imported, without importing it.

The fixes in this folder must reach modules of OpenMMLab before their neighbours copy
names out of them (`from .package_utils import is_installed`), and without loading a
toolbox that the user does not use.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

Action = Callable[[ModuleType], None]


class _AfterImport:
    """Stands first among Python's finders; lets the others find, then adds actions."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Action]] = defaultdict(list)

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Returns the others' spec of a watched module, None for all else."""
        if name not in self.actions:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._extend(spec.loader)
        return spec

    def _extend(self, loader: object) -> None:
        load = loader.exec_module

        def load_then_act(module: ModuleType) -> None:
            load(module)
            for action in self.actions.get(module.__name__, ()):
                action(module)

        # On the instance, so that the loader keeps its type and all else it can do.
        loader.exec_module = load_then_act


_FINDER = _AfterImport()


def after_import(name: str, action: Action) -> None:
    """Calls `action(module)` when `name` has been imported, or now if it has been.

    Args:
        name: Full name of a module, which may be absent: then nothing ever happens.
        action: What to do with the module. It runs again when the module is
            imported anew.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.actions[name].append(action)
    if name in sys.modules:
        action(sys.modules[name])
