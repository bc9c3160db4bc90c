"""Segmentation data sets whose pairs of picture and labels are looked at first."""

from __future__ import annotations

import logging
from pathlib import Path

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset, CityscapesDataset

from mmnv3.datasets.checked_pipeline import CheckedPipeline
from mmnv3.errors import UserError
from mmnv3.registry import DATASETS


class _CheckedPairs(CheckedPipeline, BaseSegDataset):
    """Looks for every picture's labels, and tells transforms how many classes."""

    def load_data_list(self) -> list[dict]:
        """Lists the pairs as mmseg does.

        Raises:
            UserError: When a folder is missing or holds no picture, or when a picture
                has no labels.
        """
        folders = {
            key: Path(folder) for key, folder in self.data_prefix.items() if folder
        }
        for key, folder in folders.items():
            if not folder.is_dir():
                raise UserError(
                    f'{folder}: there is no such folder; set data_root and '
                    f'data_prefix.{key}'
                )
        pairs = super().load_data_list()
        if not pairs:
            raise UserError(
                f'{folders["img_path"]} holds no picture *{self.img_suffix}; set '
                'data_root, data_prefix.img_path and img_suffix'
            )
        if 'seg_map_path' in folders:
            self._check_labels(pairs, folders['seg_map_path'])
        for pair in pairs:
            pair['num_classes'] = len(self.metainfo['classes'])
        return pairs

    def _check_labels(self, pairs: list[dict], folder: Path) -> None:
        expected = {Path(pair['seg_map_path']) for pair in pairs}
        found = set(folder.rglob(f'*{self.seg_map_suffix}'))
        if missing := sorted(expected - found):
            raise UserError(
                f'{len(missing)} of {len(pairs)} pictures have no labels; the first '
                f'that is missing is {missing[0]}'
            )
        # An annotation file may well name a part of what is there.
        if not self.ann_file and (extra := sorted(found - expected)):
            print_log(
                f'{len(extra)} label files have no picture and are left out; the first '
                f'is {extra[0]}',
                logger='current',
                level=logging.WARNING,
            )


@DATASETS.register_module()
class CheckedSegDataset(_CheckedPairs):
    """mmseg's ``BaseSegDataset`` that says what mmseg would find out late or never.

    Args:
        **kwargs: Those of ``BaseSegDataset``.

    Raises:
        UserError: When a folder is missing or empty, or a picture has no labels.
    """


@DATASETS.register_module()
class CheckedCityscapesDataset(_CheckedPairs, CityscapesDataset):
    """The same for mmseg's ``CityscapesDataset``.

    Args:
        **kwargs: Those of ``CityscapesDataset``. ``metainfo.classes`` may name some of
            the 19 classes; labels of the others are then ignored.

    Raises:
        UserError: As ``CheckedSegDataset``.
    """
