"""Writes checkpoints that are whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook

from mmnv3.files import whole_or_absent
from mmnv3.registry import HOOKS


@register_backend('mmnv3_atomic')
class AtomicBackend(LocalBackend):
    """Local files that appear under their name only once they are complete."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes to a temporary name beside the target, then renames."""
        with whole_or_absent(filepath) as partial:
            super().put(obj, partial)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, whose files a kill cannot leave half-written.

    Args:
        **kwargs: Those of ``CheckpointHook``; iterations, not epochs, by default.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **{
                'by_epoch': False,
                'backend_args': dict(backend='mmnv3_atomic'),
                **kwargs,
            }
        )
