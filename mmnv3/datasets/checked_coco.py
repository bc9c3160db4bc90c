"""COCO annotations, looked at before they are believed."""

from __future__ import annotations

import logging
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from mmnv3.coco_file import count_dropped, read_coco
from mmnv3.datasets.checked_pipeline import CheckedPipeline
from mmnv3.errors import UserError
from mmnv3.registry import DATASETS


@DATASETS.register_module()
class CheckedCocoDataset(CheckedPipeline, CocoDataset):
    """mmdet's ``CocoDataset`` that says what mmdet would drop or mix up in silence.

    Args:
        **kwargs: Those of ``CocoDataset``; ``test_mode`` also as ``CheckedPipeline``.
            ``metainfo.unused`` names those of its classes that a file need not have, as
            the ids that COCO announced and never used; the others keep their labels.

    Raises:
        UserError: When the annotation file is missing or not COCO's, when it lacks a
            class of ``metainfo``, has them in another order (mmdet would swap their
            names), or when no image is left to train on.
    """

    def load_data_list(self) -> list[dict]:
        """Loads the annotation file as mmdet does, which asks ``COCOAPI`` for it."""
        try:
            return super().load_data_list()
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f'{self.ann_file}: cannot be opened ({reason})') from None

    def COCOAPI(self, path: str) -> COCO:
        """Reads the annotation file once, checks it, and gives it to mmdet.

        Args:
            path: Of the file, or of what was fetched of it.
        """
        data = read_coco(path, self.ann_file, self.test_mode)
        classes = list(self.metainfo['classes'])
        names = [category['name'] for category in data['categories']]
        unused = self.metainfo.get('unused', ())
        required = [name for name in classes if name not in unused]
        if missing := [name for name in required if name not in names]:
            raise UserError(
                f'{self.ann_file} has no category {missing[0]!r}; it has '
                f'{", ".join(map(repr, names))}: set metainfo.classes and num_classes'
            )
        ordered = [name for name in names if name in classes]
        if ordered != [name for name in classes if name in names]:
            raise UserError(
                f'{self.ann_file} lists its categories as {", ".join(ordered)}; '
                'metainfo.classes must have the same order'
            )
        known = {c['id'] for c in data['categories'] if c['name'] in classes}
        for reason, count in count_dropped(data, known).items():
            print_log(
                f'{self.ann_file}: {count} annotations are skipped, {reason}',
                logger='current',
                level=logging.WARNING,
            )
        api = _NumberedCOCO()
        api.dataset = data
        api.createIndex()
        api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs
        return api

    def filter_data(self) -> list[dict]:
        """Filters as mmdet does, but not everything away."""
        kept = super().filter_data()
        if not kept:
            raise UserError(
                f'{self.ann_file} leaves no image with an object of '
                f'{", ".join(self.metainfo["classes"])}; check metainfo.classes and '
                'filter_cfg'
            )
        if count := len(self.data_list) - len(kept):
            print_log(
                f'{self.ann_file}: {count} of {len(self.data_list)} images are '
                'skipped, without objects or too small',
                logger='current',
                level=logging.WARNING,
            )
        return kept


class _NumberedCOCO(COCO):
    """Gives a class that the file has not an id that nothing has, in its place."""

    def get_cat_ids(
        self, cat_names: Any = (), sup_names: Any = (), cat_ids: Any = ()
    ) -> list:
        """The ids of categories; of those that are named in the order of the names."""
        if not cat_names or sup_names or cat_ids:
            return super().get_cat_ids(cat_names, sup_names, cat_ids)
        ids = {category['name']: category['id'] for category in self.cats.values()}
        return [ids.get(name, ('unused', name)) for name in cat_names]
