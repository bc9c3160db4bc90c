"""From what somebody names to what is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmdet.models.dense_heads import SSDHead
from mmengine.config import Config
from torch import nn

from mmnv3.benchmark.graph_subjects import combinations, graph_subject
from mmnv3.benchmark.subject import TORCHVISION, Request, Subject
from mmnv3.benchmark.toolbox_subjects import toolbox_subject
from mmnv3.benchmark.torchvision_subjects import torchvision_subject
from mmnv3.deploy.export import describe_graph
from mmnv3.deploy.graph import ExportGraph, build_graph, graph_class
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.runtime import check_backend
from mmnv3.engine.build import build_model
from mmnv3.engine.config import input_size, pipeline_size, read_config
from mmnv3.errors import UserError
from mmnv3.tasks import SEGMENTATION


@dataclass
class Subjects:
    """What is timed, and what has to be said about it.

    Attributes:
        ready: The subjects.
        notes: One line each about what was left out or assumed.
    """

    ready: list[Subject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        request: Request,
        backends: Sequence[str],
        precisions: Sequence[str],
        lenient: bool,
        folder: Path,
    ) -> None:
        """Makes a model ready for backends.

        Args:
            request: What was asked for.
            backends: Names of :data:`mmnv3.deploy.runtime.BACKENDS`.
            precisions: ``'fp32'``, ``'int8'`` or both.
            lenient: Whether a backend that is missing, or that cannot take the model,
                is noted instead of raised.
            folder: Where exported files go.

        Raises:
            UserError: For what does not exist, does not fit, or is not installed.
        """
        for backend in backends:
            for precision in [] if lenient else precisions:
                check_backend(backend, precision)
        if request.model.startswith(TORCHVISION):
            self._only_eager(request.model, 'is run as it is', backends, precisions)
            self.ready.append(torchvision_subject(request))
            return
        model, note = build_random(request)
        graph = try_graph(model, request)
        self.notes += [f'{request.model}: {text}' for text in (note,) if text]
        if isinstance(graph, str):
            self._only_eager(request.model, graph, backends, precisions)
            self.ready.append(toolbox_subject(model, request))
            return
        graph, info, notes = graph
        self.notes += [f'{request.model}: {text}' for text in notes]
        for backend, precision in combinations(backends, precisions, lenient):
            try:
                subject = graph_subject(
                    model, graph, info, request, backend, precision, folder
                )
            except UserError as error:
                if not lenient:
                    raise
                self.notes.append(f'{request.model}: {backend} is left out: {error}')
                continue
            self.ready.append(subject)
        if 'int8' in precisions and not request.calibration:
            self.notes.append(
                'int8 is calibrated on noise, which is good for its time and for '
                'nothing else; --calib FOLDER takes pictures'
            )

    def _only_eager(
        self, name: str, reason: str, backends: Sequence[str], precisions: Sequence[str]
    ) -> None:
        if 'pytorch' not in backends or 'fp32' not in precisions:
            raise UserError(f'{name} {reason}; --backend pytorch takes it')
        others = [backend for backend in backends if backend != 'pytorch']
        if others:
            self.notes.append(f'{name} {reason}, without {", ".join(others)}')


def build_random(request: Request) -> tuple[nn.Module, str]:
    """Builds a config's model without fetching anything.

    Returns:
        The model, and what has to be said about its weights.
    """
    options = dict(request.options or {})
    note = ''
    if not request.checkpoint:
        pretrained = find_pretrained(read_config(request.model, options))
        if pretrained:
            options.update(dict.fromkeys(pretrained))
            note = 'random weights; what its config starts from is not fetched'
    return build_model(request.model, options, request.checkpoint), note


def find_pretrained(config: Config) -> list[str]:
    """Settings of a config that name weights to start from, as ``a.b.init_cfg``."""
    found = []

    def search(part: object, path: str) -> None:
        if isinstance(part, (list, tuple)):
            for index, value in enumerate(part):
                search(value, f'{path}.{index}')
        elif isinstance(part, dict):
            for key, value in part.items():
                names_weights = (key == 'pretrained' and isinstance(value, str)) or (
                    key == 'init_cfg'
                    and isinstance(value, dict)
                    and str(value.get('type')).endswith('Pretrained')
                )
                if names_weights:
                    found.append(f'{path}.{key}')
                else:
                    search(value, f'{path}.{key}')

    search(config.model, 'model')
    return found


def try_graph(
    model: nn.Module, request: Request
) -> tuple[ExportGraph, ModelInfo, list[str]] | str:
    """Turns a model into a graph.

    Returns:
        The graph, its description and notes, or the reason why there is none.

    Raises:
        UserError: When the model could, but not at the size that was asked for.
    """
    refusal = 'runs by its toolbox’s own predict, since it cannot be exported'
    _mend_ssd(model, request.size)
    try:
        task = graph_class(model).task
    except UserError:
        return refusal
    notes = []
    size = request.size
    if task == SEGMENTATION and not size and pipeline_size(model.cfg) is None:
        size = request.pictures()[0].shape[1::-1]
        notes.append(f'takes pictures as they are, here {size[0]}x{size[1]}')
    graph = build_graph(model, input_size(model.cfg, size), request.batch or 1)
    try:
        return graph, describe_graph(graph, model), notes
    except UserError as error:
        return f'runs by its toolbox’s own predict ({error})'


def _mend_ssd(model: nn.Module, size: tuple[int, int] | None) -> None:
    """Makes mmdet's own SSDLite one that can be exported.

    It cannot infer itself (mmdetection#11063). Its anchors have steps of fixed pixels,
    and so fit any input without knowing it; and it drops boxes that are empty, which is
    left out.
    """
    head = getattr(model, 'bbox_head', None)
    if not isinstance(head, SSDHead):
        return
    size = size or pipeline_size(model.cfg)
    if size and not hasattr(head.prior_generator, 'input_size'):
        head.prior_generator.input_size = size
    if head.test_cfg.get('min_bbox_size') == 0:
        head.test_cfg.pop('min_bbox_size')
