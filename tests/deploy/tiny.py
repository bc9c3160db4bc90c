"""A detector of one convolution, whose files are loaded in no time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmnv3.deploy.export import export_graph
from mmnv3.deploy.graph import SegmentationGraph
from mmnv3.deploy.info import FINAL_OUTPUTS, OUTPUTS, ModelInfo
from mmnv3.deploy.runtime import FORMATS
from mmnv3.models.nms import static_nms
from mmnv3.resizing import Pad, Resize
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION

SIZE = Size(16, 12)
INFO = ModelInfo(
    task=DETECTION,
    classes=('dot', 'dash'),
    input_shape=(1, 3, SIZE.height, SIZE.width),
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    channel_order='rgb',
    steps=(Resize(SIZE, keep_ratio=True), Pad(SIZE)),
    palette=((255, 0, 0), (0, 0, 255)),
    score_threshold=0.1,
    iou_threshold=0.5,
    max_detections=5,
    max_per_class=-1,
)


class TinyGraph(nn.Module):
    """As `mmnv3.deploy.graph.DetectionGraph`: 12 boxes, and scores of two classes."""

    task = DETECTION
    outputs = OUTPUTS[DETECTION]

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 4, stride=4)
        self.eval().requires_grad_(False)

    def example(self) -> Tensor:
        return torch.zeros(INFO.input_shape)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        found = self.conv(image).flatten(2).permute(0, 2, 1).sigmoid()
        corners = found[..., :2] * 6
        return torch.cat([corners, corners + found[..., 2:4] * 6], -1), found[..., 4:]


class TinySuppressing(TinyGraph):
    """It, with suppression."""

    outputs = FINAL_OUTPUTS[DETECTION]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        boxes, scores = super().forward(image)
        return static_nms(boxes[0], scores[0], **INFO.suppression)


class TinySegmenter(SegmentationGraph):
    """A segmenter of one convolution, which has two classes."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 2, 4, stride=4, bias=False)
        self.size, self.batch, self.postprocess = SIZE, 1, False
        self.eval().requires_grad_(False)

    mask_threshold = None

    def forward(self, image: Tensor) -> Tensor:
        return F.interpolate(self.conv(image), size=SIZE[::-1], mode='bilinear')


class TinyClassifier(nn.Module):
    """A classifier of one convolution, which has two classes."""

    task = CLASSIFICATION
    num_classes = 2
    outputs = OUTPUTS[CLASSIFICATION]

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 2, 4, stride=4)
        self.eval().requires_grad_(False)

    def example(self) -> Tensor:
        return torch.zeros(INFO.input_shape)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(image).mean((2, 3))


# By task, what runs outside of a file and what inside of one that takes pictures, and
# what the first gives.
NETWORKS = {
    DETECTION: (TinyGraph, TinySuppressing, {}),
    SEGMENTATION: (TinySegmenter, TinySegmenter, dict(align_corners=False)),
    CLASSIFICATION: (TinyClassifier, TinyClassifier, {}),
}


@cache
def _exported(kind: str) -> dict[str, bytes]:
    """What is in its files, by their names."""
    with TemporaryDirectory() as folder:
        path = Path(folder, f'tiny{FORMATS[kind].suffixes[0]}')
        export_graph(TinyGraph(), INFO, path, kind)
        return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def write_tiny(folder: Path, kind: str) -> Path:
    """Its exported file; of OpenVINO's two the one that is named."""
    for name, content in _exported(kind).items():
        (folder / name).write_bytes(content)
    return folder / f'tiny{FORMATS[kind].suffixes[0]}'
