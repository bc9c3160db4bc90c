"""Imports mmnv3 as soon as a program has begun to import mmengine.

`mim train mmdet CONFIG` runs mmdet's own script, which imports mmdet before it reads
any config; what mmnv3 mends must be arranged by then. The build copies this file and
`mmnv3.pth` to the top of site-packages, where Python runs them on every start: hence
no import here but of what Python has loaded by then. The environment variable
MMNV3_STARTUP=0 switches it off.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` would be loaded on every start for this name alone
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class Startup:
    """The first of Python's finders, until a part of mmengine is sought."""

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Imports mmnv3 and begins the search anew; None for all but mmengine."""
        # Not at "mmengine" itself: mmnv3 would import it a second time within this.
        if not name.startswith('mmengine.'):
            return None
        sys.meta_path.remove(Startup)
        import importlib.util

        import mmnv3  # noqa: F401

        # The search under way goes by position, and the positions have changed.
        return importlib.util.find_spec(name)


if os.environ.get('MMNV3_STARTUP') != '0':
    sys.meta_path.insert(0, Startup)
