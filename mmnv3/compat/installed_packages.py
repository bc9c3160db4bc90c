"""Asks `importlib.metadata`, not `pkg_resources`, what is installed.

Upstream fault: mmengine 0.10.7 imports `pkg_resources` to resolve `mmdet::...` configs
and packages; setuptools 82 no longer has it. Goes with the next mmengine release,
whose main branch uses `importlib.metadata`.
"""

import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType


def package2module(package: str) -> str:
    """Returns the top-level module of a distribution.

    Args:
        package: Name of a distribution, such as `mmsegmentation`.

    Raises:
        PackageNotFoundError: It is not installed.
        ValueError: It does not tell its modules.
    """
    names = (distribution(package).read_text('top_level.txt') or '').split()
    if not names:
        raise ValueError(f'distribution {package!r} has no top_level.txt')
    return names[0]


def _location(module: str) -> str | None:
    spec = importlib.util.find_spec(module)
    return str(Path(spec.origin).parent) if spec and spec.origin else None


def is_installed(package: str) -> bool:
    """Tells whether `package` is an installed distribution or importable module."""
    try:
        distribution(package)
    except PackageNotFoundError:
        return _location(package) is not None
    return True


def get_installed_path(package: str) -> str:
    """Returns the folder of a package, given its distribution's or module's name.

    Raises:
        PackageNotFoundError: There is neither.
    """
    folder = _location(package) or _location(package2module(package))
    if folder is None:
        raise PackageNotFoundError(package)
    return folder


def use_importlib_metadata(package_utils: ModuleType) -> None:
    """Replaces mmengine's functions that need `pkg_resources`, where it is absent."""
    if importlib.util.find_spec('pkg_resources') is not None:
        return
    for ours in (is_installed, get_installed_path, package2module):
        theirs = getattr(package_utils, ours.__name__)
        # OneDL's mmengine has done this itself, and is left as it is.
        if 'pkg_resources' not in theirs.__code__.co_names:
            continue
        # mmengine may have been imported before, and copied the names about.
        for module in tuple(sys.modules.values()):
            if getattr(module, '__dict__', {}).get(ours.__name__) is theirs:
                setattr(module, ours.__name__, ours)
