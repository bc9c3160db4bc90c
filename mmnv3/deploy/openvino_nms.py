"""Teaches OpenVINO's reader of PyTorch graphs what torchvision's NMS is.

Upstream fault: OpenVINO 2026.4 converts ``torchvision::nms`` in TorchScript but not in
exported programs. Goes when it does both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from openvino import opset14 as ops
from openvino.frontend.pytorch import ConversionExtension


def _convert(context: Any) -> list:
    boxes, scores, iou_threshold = (context.get_input(index) for index in range(3))
    count = ops.squeeze(ops.shape_of(scores), ops.constant([0]))
    found = ops.non_max_suppression(
        ops.unsqueeze(boxes, ops.constant([0])),
        ops.unsqueeze(scores, ops.constant(np.array([0, 1]))),
        count,
        ops.convert(iou_threshold, 'f32'),
        box_encoding='corner',
        output_type='i64',
    )
    # Its rows are batch, class and box.
    return [ops.gather(found.output(0), ops.constant(2), ops.constant(1)).output(0)]


def nms_extension() -> ConversionExtension:
    """What ``openvino.convert_model`` takes as an ``extension``."""
    return ConversionExtension('torchvision.nms.default', _convert)
