"""Classification data sets whose folders are looked at first."""

from __future__ import annotations

from pathlib import Path

from mmengine.fileio import get_file_backend
from mmengine.fileio.backends import LocalBackend
from mmpretrain.datasets import CustomDataset, ImageNet
from mmpretrain.datasets.custom import find_folders

from mmnv3.datasets.checked_pipeline import CheckedPipeline
from mmnv3.errors import UserError
from mmnv3.registry import DATASETS


class _CheckedFolders(CheckedPipeline, CustomDataset):
    """Looks for the folders or the list, and for labels that are no classes."""

    def load_data_list(self) -> list[dict]:
        """Lists the pictures as mmpretrain does.

        Raises:
            UserError: When a folder or the list is missing, the folders are not as
                many as the classes, there is no picture, or the list names a label
                that is no class.
        """
        if isinstance(get_file_backend(self.img_prefix), LocalBackend):
            self._check_places()
        if self.ann_file:
            return self._load_list()
        if self.with_label and self.CLASSES is not None:
            folders, _ = find_folders(self.img_prefix)
            if len(folders) != len(self.CLASSES):
                raise UserError(
                    f'{self.img_prefix} holds {len(folders)} folders of classes, and '
                    f'{len(self.CLASSES)} classes are asked for: complete it, or set '
                    'metainfo.classes and num_classes'
                )
        try:
            return super().load_data_list()
        except RuntimeError:
            raise UserError(
                f'{self.img_prefix} holds no picture {", ".join(self.extensions)}; set '
                'data_root, split or data_prefix, and extensions'
            ) from None

    def _check_places(self) -> None:
        if self.img_prefix and not Path(self.img_prefix).is_dir():
            raise UserError(
                f'{self.img_prefix}: there is no such folder; set data_root and split '
                'or data_prefix'
            )
        if self.ann_file and not Path(self.ann_file).is_file():
            raise UserError(
                f'{self.ann_file}: there is no such file; set data_root and ann_file'
            )

    def _load_list(self) -> list[dict]:
        try:
            pictures = super().load_data_list()
        except (OSError, ValueError) as error:
            raise UserError(
                f'{self.ann_file} is no list of pictures, each line of which has the '
                f'name of a picture and the number of its class ({error})'
            ) from None
        classes = self.CLASSES
        for number, picture in enumerate(pictures, 1):
            label = picture.get('gt_label', 0)
            if label < 0 or (classes is not None and label >= len(classes)):
                possible = f'0 to {len(classes) - 1}' if classes else '0 or more'
                raise UserError(
                    f'{self.ann_file}, line {number}: {label} is no class; possible '
                    f'are {possible}: set metainfo.classes and num_classes'
                )
        if not pictures:
            raise UserError(f'{self.ann_file} names no picture')
        return pictures


@DATASETS.register_module()
class CheckedImageNet(_CheckedFolders, ImageNet):
    """mmpretrain's ``ImageNet`` that says what is wrong with its folders.

    Args:
        **kwargs: Those of ``ImageNet``.

    Raises:
        UserError: When folders are missing, empty or not as many as the classes, or
            when a list of pictures cannot be read.
    """


@DATASETS.register_module()
class CheckedCustomDataset(_CheckedFolders):
    """The same for mmpretrain's ``CustomDataset``.

    Args:
        **kwargs: Those of ``CustomDataset``.

    Raises:
        UserError: As ``CheckedImageNet``.
    """
