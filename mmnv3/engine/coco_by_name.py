"""mmdet's COCO metric for a detector that knows classes which a file has not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation import CocoMetric

from mmnv3.registry import METRICS


@METRICS.register_module()
class CocoMetricByName(CocoMetric):
    """Finds a class in the annotation file by its name, where mmdet counts them off.

    mmdet gives the first label the first category that the file has of the detector's
    classes, and so on. A detector of all 90 ids of COCO, ten of which no file has,
    would so be scored by wrong names. What it finds of a class that the file has not
    counts neither for nor against it.

    Args:
        **kwargs: Those of ``CocoMetric``, with an ``ann_file``.
    """

    def compute_metrics(self, results: Sequence[tuple[dict, dict]]) -> dict[str, float]:
        """Scores detections.

        Args:
            results: Of each picture what is true, which the file says, and what was
                found: ``bboxes``, ``scores`` and ``labels``.
        """
        assert self.dataset_meta is not None and self._coco_api is not None
        classes = self.dataset_meta['classes']
        ids = self._coco_api.get_cat_ids(cat_names=classes)
        names = [category['name'] for category in self._coco_api.load_cats(ids)]
        places = np.array(
            [names.index(name) if name in names else -1 for name in classes]
        )
        return super().compute_metrics(
            [(truth, _renumber(found, places)) for truth, found in results]
        )


def _renumber(found: dict, places: np.ndarray) -> dict:
    labels = places[found['labels']]
    kept = labels >= 0
    return dict(
        found,
        bboxes=found['bboxes'][kept],
        scores=found['scores'][kept],
        labels=labels[kept],
    )
