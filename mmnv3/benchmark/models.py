"""From what somebody names to models that are ready to be timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.models.dense_heads import SSDHead
from mmengine.config import Config
from torch import Tensor, nn

from mmnv3.benchmark.clock import Stages
from mmnv3.benchmark.foreign import start_toolbox_model, start_torchvision_model
from mmnv3.benchmark.timed_model import (
    NETWORK,
    POST,
    PRE,
    TORCHVISION,
    Request,
    TimedModel,
    compiler_error,
    start_model,
)
from mmnv3.deploy.calibration import noise_batches, read_batches
from mmnv3.deploy.export import FORMATS, describe_graph, write_file
from mmnv3.deploy.graph import ExportGraph, build_graph, graph_class
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.pipeline import Pipeline
from mmnv3.deploy.runtime import (
    BACKENDS,
    PyTorchRuntime,
    Runtime,
    backend_precisions,
    check_backend,
    check_processor,
    file_suffix,
    load_runtime,
    run_graph,
)
from mmnv3.deploy.sources import postprocesses_inside
from mmnv3.engine.build import build_model
from mmnv3.engine.config import (
    config_task,
    input_size,
    picture_steps,
    pipeline_size,
    read_config,
)
from mmnv3.errors import UserError
from mmnv3.resizing import output_size, picture_size
from mmnv3.size import Size
from mmnv3.tasks import SEGMENTATION


def find_models(
    request: Request,
    backends: Sequence[str],
    precisions: Sequence[str],
    lenient: bool,
    folder: Path,
) -> tuple[list[TimedModel], list[str]]:
    """Makes a model ready for backends.

    Args:
        request: What was asked for.
        backends: Names of :data:`mmnv3.deploy.runtime.BACKENDS`.
        precisions: Of :data:`mmnv3.deploy.info.PRECISIONS`.
        lenient: Whether a backend that is missing, or that cannot take the model or the
            precision, is noted instead of raised.
        folder: Where exported files go.

    Returns:
        The models, one for each backend and precision, and one line each about what was
        left out or assumed.

    Raises:
        UserError: For what does not exist, does not fit, or is not installed.
    """
    if not lenient:
        for backend in backends:
            for precision in precisions:
                check_backend(backend, precision)
    if request.model.startswith(TORCHVISION):
        notes = _only_eager(request.model, 'is run as it is', backends, precisions)
        return [start_torchvision_model(request)], notes
    model, note = build_random(request)
    notes = [f'{request.model}: {note}'] if note else []
    exportable = find_exportable(model, request)
    if isinstance(exportable, str):
        notes += _only_eager(request.model, exportable, backends, precisions)
        return [start_toolbox_model(model, request)], notes
    if exportable.keeps_size:
        notes.append(
            f'{request.model}: takes pictures as they are, here {exportable.size}'
        )
    ready = []
    for backend, precision in _combinations(backends, precisions, lenient):
        try:
            ready.append(exportable.start(backend, precision, folder))
        except UserError as error:
            if not lenient:
                raise
            way = f'{backend} {precision}'
            notes.append(f'{request.model}: {way} is left out: {error}')
    if 'int8' in precisions and not request.calibration:
        notes.append(
            'int8 is calibrated on noise, which is good for its time and for nothing '
            'else; --calib FOLDER takes pictures'
        )
    return ready, notes


def _only_eager(
    name: str, reason: str, backends: Sequence[str], precisions: Sequence[str]
) -> list[str]:
    """A note on backends that a model cannot have.

    Raises:
        UserError: When none is left.
    """
    if 'pytorch' not in backends or 'fp32' not in precisions:
        raise UserError(f'{name} {reason}; --backend pytorch takes it')
    others = [backend for backend in backends if backend != 'pytorch']
    return [f'{name} {reason}, without {", ".join(others)}'] if others else []


def _combinations(
    backends: Sequence[str], precisions: Sequence[str], lenient: bool
) -> Iterator[tuple[str, str]]:
    """Pairs of backend and precision; impossible ones are left out of ``'all'``."""
    for backend in backends:
        for precision in precisions:
            if not lenient or precision in backend_precisions(backend):
                yield backend, precision


@dataclass
class Exportable:
    """A config's model that :mod:`mmnv3.deploy` can export.

    Attributes:
        model: What the config builds.
        request: What was asked for.
        size: Pixels of the input.
        keeps_size: Whether they are those that the picture happens to have.
        graphs: What was built, by whether it does its post-processing inside.
    """

    model: nn.Module
    request: Request
    size: Size
    keeps_size: bool
    graphs: dict[bool, tuple[ExportGraph, ModelInfo]]

    def graph(self, postprocess: bool) -> tuple[ExportGraph, ModelInfo]:
        """The graph, which is built once, and its description."""
        if postprocess not in self.graphs:
            batch = self.request.batch or 1
            graph = build_graph(self.model, self.size, batch, postprocess)
            self.graphs[postprocess] = graph, describe_graph(graph, self.model)
        return self.graphs[postprocess]

    def start(self, backend: str, precision: str, folder: Path) -> TimedModel:
        """Makes it ready for one backend, as :class:`mmnv3.deploy.Predictor` would.

        Args:
            backend: One of :data:`mmnv3.deploy.runtime.BACKENDS`.
            precision: One of those that the backend has.
            folder: Where the exported files go.

        Raises:
            UserError: When the backend is not installed or cannot do this.
        """
        request, format_name = self.request, BACKENDS[backend]
        check_backend(backend, precision)
        check_processor(precision, f'backend {backend!r}')
        request.check_device(backend)
        inside = postprocesses_inside(config_task(self.model.cfg), format_name)
        graph, info = self.graph(inside)
        files: list[Path] = []
        if format_name is None:
            graph = graph.in_precision(precision)
            info = replace(info, precision=precision)
            load = partial(_load_graph, graph, info, request, backend)
        else:
            path = folder / f'{backend}-{precision}{file_suffix(backend)}'
            calibration = (
                partial(read_batches, request.calibration, info)
                if request.calibration
                else partial(noise_batches, info)
            )
            write_file(graph, info, path, format_name, precision, calibration)
            load = partial(load_runtime, path, request.threads)
            files = [path.with_suffix(end) for end in FORMATS[format_name].suffixes]
        keeps_size = self.keeps_size and backend == 'pytorch'
        return start_model(
            request,
            lambda: pipeline_stages(Pipeline(load(), keeps_size)),
            self.size,
            self.model,
            graph,
            backend=backend,
            precision=precision,
            files=files,
            explain=compiler_error if backend == 'compile' else None,
        )


def pipeline_stages(pipeline: Pipeline) -> Stages:
    """The stages of what a user of :class:`mmnv3.deploy.Predictor` runs.

    Pictures in memory are resized and normalised, into memory that is used again; the
    network runs, decoding of boxes, probabilities and the resizing of maps included,
    since they are part of the graph; then boxes are suppressed, or the best class is
    chosen, unless a file does it inside.
    """
    batch = pipeline.info.empty_batch()
    sizes: list[Size] = []

    def prepare(pictures: Sequence[np.ndarray]) -> np.ndarray:
        sizes[:] = map(picture_size, pictures)
        return pipeline.prepare(*pictures, out=batch)

    return {
        PRE: prepare,
        NETWORK: pipeline.run,
        POST: lambda outputs: pipeline.finish(outputs, sizes),
    }


def _load_graph(
    graph: ExportGraph, info: ModelInfo, request: Request, backend: str
) -> Runtime:
    """Runs a graph by PyTorch, on the device that is asked for."""
    if request.device == 'cpu':
        return run_graph(graph, info, backend, request.threads)
    module: Callable[[Tensor], Any] = graph.to(request.device)
    if backend == 'compile':
        module = torch.compile(module, options={'freezing': True})

    def run(batch: Tensor) -> tuple[Tensor, ...]:
        found = module(batch.to(request.device))
        found = (found,) if isinstance(found, Tensor) else found
        # Copying back also waits for the device.
        return tuple(output.cpu() for output in found)

    return PyTorchRuntime(run, info, request.threads)


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


def find_exportable(model: nn.Module, request: Request) -> Exportable | str:
    """What of a model can be exported.

    Returns:
        It, or the reason why only its toolbox can run it.

    Raises:
        UserError: When it could be exported, but not at the size that was asked for.
    """
    refusal = 'runs by its toolbox’s own predict'
    size, config = request.size, model.cfg
    try:
        _mend_ssd(model)
        task = graph_class(model).task
    except UserError:
        return f'{refusal}, since it cannot be exported'
    try:
        keeps_size = task == SEGMENTATION and not size and pipeline_size(config) is None
        if keeps_size:
            picture = picture_size(request.pictures()[0])
            size = output_size(picture_steps(config), picture)
        size = input_size(config, size)
    except UserError as error:
        return f'{refusal} ({error})'
    # What only the size stands in the way of is told as it is.
    graph = build_graph(model, size, request.batch or 1)
    try:
        info = describe_graph(graph, model)
    except UserError as error:
        return f'{refusal} ({error})'
    return Exportable(model, request, size, keeps_size, {False: (graph, info)})


def _mend_ssd(model: nn.Module) -> None:
    """Makes mmdet's own SSDLite one that can be exported.

    It cannot infer itself (mmdetection#11063), and it drops boxes that are empty, which
    is left out.
    """
    head = getattr(model, 'bbox_head', None)
    if isinstance(head, SSDHead) and head.test_cfg.get('min_bbox_size') == 0:
        head.test_cfg.pop('min_bbox_size')
