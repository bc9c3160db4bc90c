"""Checkpoints that are whole or absent, and finding the one to resume from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook

from mmnv3.errors import UserError
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


def find_resumable(work_dir: str | Path) -> Path | None:
    """The newest checkpoint of a work directory, or None.

    mmengine looks the name up in ``last_checkpoint``, which a kill can leave empty;
    the checkpoints themselves are whole or absent, so they are the better witness.

    Args:
        work_dir: Where training wrote ``iter_*.pth`` or ``epoch_*.pth``.

    Raises:
        UserError: When the directory holds numbered checkpoints of both kinds.
    """
    found = [
        (path.stem.split('_')[0], int(path.stem.split('_')[1]), path)
        for path in Path(work_dir).glob('*_*.pth')
        if path.stem.split('_')[0] in ('iter', 'epoch')
        and path.stem.split('_')[1].isdigit()
    ]
    if len({kind for kind, *_ in found}) > 1:
        raise UserError(
            f'{work_dir} holds iter_*.pth and epoch_*.pth; name the one to resume from'
        )
    return max(found)[-1] if found else None
