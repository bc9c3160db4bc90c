"""Upstream's loaders by name, and ones that look at what they read in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import LoadAnnotations

from mmnv3.datasets.load_image import LoadCheckedImage
from mmnv3.datasets.load_labels import LoadCheckedLabels


class CheckedPipeline(BaseDataset):
    """A data set that checks the pictures and label pictures that it reads.

    Its pipeline names the loaders of mmcv and mmseg, since upstream's tools look for
    those names, and is built with ours.

    Args:
        *args: Those of the data set.
        pipeline: Its transforms, as everywhere.
        test_mode: False, for training, skips a damaged picture with a warning and
            draws another in its place; True, for testing, where that would flatter the
            result, raises.
        **kwargs: Those of the data set.
    """

    def __init__(
        self,
        *args: Any,
        pipeline: Sequence[Any] = (),
        test_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        checked: dict[type | None, dict] = {
            LoadImageFromFile: dict(type=LoadCheckedImage, skip_damaged=not test_mode),
            LoadAnnotations: dict(
                type=LoadCheckedLabels, ignore_index=kwargs.get('ignore_index', 255)
            ),
        }
        super().__init__(
            *args,
            pipeline=_replaced(list(pipeline), checked),
            test_mode=test_mode,
            **kwargs,
        )


def _replaced(given: Any, checked: Mapping[type | None, dict]) -> Any:
    """A pipeline with other transforms in it, also in what chooses among some.

    Args:
        given: The pipeline, or a part of it.
        checked: By the class of a transform, the settings that take its place; others
            of its own stay.
    """
    if isinstance(given, Mapping):
        settings = {key: _replaced(value, checked) for key, value in given.items()}
        return {**settings, **checked.get(_transform(settings), {})}
    if type(given) in (list, tuple):
        return type(given)(_replaced(part, checked) for part in given)
    return given


def _transform(settings: Mapping) -> type | None:
    """The class that settings ask for; it depends on the toolbox that is in use."""
    kind = settings.get('type')
    if not isinstance(kind, str):
        return kind
    with TRANSFORMS.switch_scope_and_registry(settings.get('_scope_')) as registry:
        return registry.get(kind)
