"""Writes checkpoints that are whole or absent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

import mmnv3
from mmnv3.engine.checkpoints import VERSION_KEY
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
    """mmengine's ``CheckpointHook``, which loses nothing to a kill.

    A file is whole or absent, and what it replaces goes only once it is there. A
    training that was killed in a validation begins with that validation when it is
    resumed, and the best file that it may have left behind goes after the next one.

    Args:
        **kwargs: Those of ``CheckpointHook``; iterations, not epochs, by default.
    """

    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]
    # Of the message hub, which every checkpoint holds: the last iteration validated.
    _validated = 'last_validated_iter'

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **{
                'by_epoch': False,
                'backend_args': dict(backend='mmnv3_atomic'),
                **kwargs,
            }
        )
        # Best files that a kill left beside the one that training remembers.
        self._left: list[str] = []

    def before_train(self, runner: Runner) -> None:
        """Makes up for the validation that a kill cut off."""
        super().before_train(runner)
        if not (runner._resume and runner.iter):
            return
        self._left = self._find_left(runner.epoch if self.by_epoch else runner.iter)
        validated = runner.message_hub.runtime_info.get(self._validated)
        if _is_validated_now(runner) and validated != runner.iter:
            runner.logger.info(
                f'Validating iteration {runner.iter}, whose checkpoint was written '
                'before its validation'
            )
            # The best score is then noted in it, as in a training that goes on.
            self.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')
            runner.val_loop.run()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Notes which mmnv3 it is from."""
        checkpoint['meta'][VERSION_KEY] = mmnv3.__version__

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Saves the best, and removes what a kill left."""
        runner.message_hub.update_info(self._validated, runner.iter)
        super().after_val_epoch(runner, metrics)
        self._remove(set(self._left) - set(self._best_files()))
        self._left = []

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Saves the best; mmengine would delete the one before it first."""
        before = self._best_files()
        # Without a name it has nothing to delete.
        self._set_best_files([None] * len(before))
        super()._save_best_checkpoint(runner, metrics)
        after = self._best_files()
        self._set_best_files([new or old for new, old in zip(after, before)])
        self._remove({old for new, old in zip(after, before) if new} - set(after))

    def _best_files(self) -> list[str | None]:
        """The best file of every metric; None where there is none yet."""
        if not self.save_best:
            return []
        if len(self.key_indicators) == 1:
            return [self.best_ckpt_path]
        return list(self.best_ckpt_path_dict.values())

    def _set_best_files(self, paths: list[str | None]) -> None:
        if len(paths) == 1:
            (self.best_ckpt_path,) = paths
        elif paths:
            self.best_ckpt_path_dict = dict(zip(self.best_ckpt_path_dict, paths))

    def _find_left(self, count: int) -> list[str]:
        """Best files that are not the best.

        None where somebody goes back to an earlier checkpoint than the newest, and so
        has the files of another course in the folder.

        Args:
            count: The iteration, or epoch, that training goes on from.
        """
        number = self.filename_tmpl.replace('{}', r'(\d+)')
        metrics = '|'.join(re.escape(key) for key in self.save_best or ())
        metrics = metrics.replace('/', '_')
        names = [path.name for path in Path(self.out_dir).glob('*.pth')]
        numbers = [
            int(found[1]) for name in names if (found := re.fullmatch(number, name))
        ]
        if max(numbers, default=count) > count:
            return []
        return [
            self.file_backend.join_path(self.out_dir, name)
            for name in names
            if re.fullmatch(f'best_({metrics})_{number}', name)
        ]

    def _remove(self, paths: Iterable[str | None]) -> None:
        for path in paths:
            if path and is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)
                print_log(f'Removed {path}', logger='current')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Saves a numbered file; mmengine would delete the oldest first."""
        oldest = None
        if self.max_keep_ckpts > 0:
            kept = self.keep_ckpt_ids
            if len(kept) == self.max_keep_ckpts and kept[-1] != step:
                oldest = kept.popleft()
        super()._save_checkpoint_with_step(runner, step, meta)
        if oldest is not None:
            name = self.filename_tmpl.format(oldest)
            self._remove([self.file_backend.join_path(self.out_dir, name)])


def _is_validated_now(runner: Runner) -> bool:
    """Whether a validation belongs between what a checkpoint holds and what follows."""
    loop = runner.train_loop
    if runner._val_loop is None or not isinstance(
        loop, (EpochBasedTrainLoop, IterBasedTrainLoop)
    ):
        return False
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    count, end = (
        (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    )
    return count >= loop.val_begin and (count % loop.val_interval == 0 or count == end)
