"""Joins a Ray cluster, of this machine or of many."""

from __future__ import annotations

import os
import re
import socket
from types import ModuleType

from mmnv3.errors import UserError
from mmnv3.optional import require

# What stands for processes of this machine in place of an address.
HERE = 'local'


def connect(address: str) -> ModuleType:
    """Imports Ray and joins its cluster, once a process.

    Args:
        address: As ``'10.0.0.1:6379'`` or ``'ray://10.0.0.1:10001'``; :data:`HERE`
            starts one of this machine's processes.

    Returns:
        The package.

    Raises:
        UserError: When Ray is not installed, or when nobody answers there.
    """
    ray = require('ray', 'search')
    if not ray.is_initialized():
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
        # It announces a change of its own that concerns GPUs only.
        os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')
        try:
            _knock(address)
            ray.init(
                address=address,
                include_dashboard=False if address == HERE else None,
                log_to_driver=False,
                logging_level='ERROR',
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f'there is no Ray cluster at {address!r} ({error}); start one with '
                "'ray start --head', or name none to use this machine"
            ) from None
    return ray


def _knock(address: str) -> None:
    """Fails at once where nobody listens; Ray itself would wait for minutes."""
    if match := re.fullmatch(r'(?:ray://)?([^:/]+):(\d+)', address):
        socket.create_connection((match[1], int(match[2])), timeout=10).close()
