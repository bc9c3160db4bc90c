"""Packages that only exported models need."""

from __future__ import annotations

import importlib
from types import ModuleType

from mmnv3.errors import UserError


def require(package: str, extra: str) -> ModuleType:
    """Imports what a package of an extra of setup.py brings.

    Args:
        package: Named as it is imported.
        extra: The extra that brings it.

    Raises:
        UserError: When it, or what it needs itself, is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        missing = (error.name or package).partition('.')[0].replace('_', '-')
        raise UserError(
            f'{missing} is not installed; pip install {missing}, or mmnv3 with its '
            f"extra: pip install '.[{extra}]'"
        ) from None
