"""Writes a model as a file that a runtime reads."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn
from torch.export import ExportedProgram

from mmnv3.analysis.subjects import build_model
from mmnv3.deploy.describing import default_size, describe
from mmnv3.deploy.graph import ExportGraph, anchor_size, build_graph, graph_class
from mmnv3.deploy.info import (
    CLASSIFICATION,
    DETECTION,
    EXTRA_FILE,
    INPUT,
    RT_INFO,
    ModelInfo,
)
from mmnv3.deploy.optional import require
from mmnv3.engine.launch import existing_checkpoint, read_config
from mmnv3.errors import UserError


def _trace(graph: ExportGraph) -> ExportedProgram:
    """PyTorch's own form of an exported graph.

    `Conv2dSame` pads the picture where there might be gradients. Runtimes take that
    into their convolutions, whose kernels then are no larger than they must be.
    """
    with torch.enable_grad():
        return torch.export.export(graph, (graph.example(),))


def _write_pytorch(graph: ExportGraph, info: ModelInfo, path: Path) -> None:
    extra = {EXTRA_FILE: json.dumps(info.to_strings())}
    torch.export.save(_trace(graph), path, extra_files=extra)


def _write_onnx(graph: ExportGraph, info: ModelInfo, path: Path) -> None:
    onnx = require('onnx', 'onnx')
    require('onnxscript', 'onnx')
    exported = torch.onnx.export(
        _trace(graph),
        input_names=[INPUT],
        output_names=info.outputs,
        dynamo=True,
        verbose=False,
    )
    model = exported.model_proto
    onnx.helper.set_model_props(model, info.to_strings())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _write_openvino(graph: ExportGraph, info: ModelInfo, path: Path) -> None:
    openvino = require('openvino', 'openvino')
    model = openvino.convert_model(_trace(graph), input=list(info.input_shape))
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, info.outputs, strict=True):
        output.get_tensor().set_names({name})
    for name, value in info.to_strings().items():
        model.set_rt_info(value, [RT_INFO, name])
    # The default would halve the weights' precision.
    openvino.save_model(model, path, compress_to_fp16=False)


class _NamedOutputs(nn.Module):
    """A graph that returns its outputs by name, which LiteRT's signatures keep."""

    def __init__(self, graph: ExportGraph) -> None:
        super().__init__()
        # `graph` is taken by what tracing makes of this.
        self.network = graph

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        found = self.network(inputs[INPUT])
        found = (found,) if isinstance(found, Tensor) else found
        return dict(zip(self.network.outputs, found, strict=True))


def _write_litert(graph: ExportGraph, info: ModelInfo, path: Path) -> None:
    litert_torch = require('litert_torch', 'litert')
    litert_torch.config.show_progress = False
    with torch.enable_grad():  # See `_trace`.
        model = litert_torch.convert(
            _NamedOutputs(graph).eval(), sample_kwargs={INPUT: graph.example()}
        )
    model.export(str(path))
    # Readers of the model stop where it ends; its own tools append files alike.
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr(EXTRA_FILE, json.dumps(info.to_strings()))


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffixes: Endings of its files; the first is of the one that is named.
        write: Writes them.
    """

    suffixes: tuple[str, ...]
    write: Callable[[ExportGraph, ModelInfo, Path], None]


FORMATS = {
    'pytorch': Format(('.pt2',), _write_pytorch),
    'onnx': Format(('.onnx',), _write_onnx),
    'openvino': Format(('.xml', '.bin'), _write_openvino),
    'litert': Format(('.tflite',), _write_litert),
}


def export_config(
    config_path: str,
    checkpoint: str | None,
    out: str | Path,
    format_name: str,
    size: tuple[int, int] | None = None,
    options: dict | None = None,
) -> ModelInfo:
    """Exports the model of a config.

    Args:
        config_path: The config.
        checkpoint: Its weights; random ones for None.
        out: File to write.
        format_name: One of :data:`FORMATS`.
        size: Pixels of the input, (width, height). By default a detector's is that
            of its anchors, another model's that of the config's test pipeline.
        options: Settings of the config to override.

    Returns:
        The description that the file carries.

    Raises:
        UserError: When something given is missing or does not fit together.
    """
    _check_ending(out, format_name)
    if size and min(size) <= 0:
        raise UserError(f'--size {size[0]} {size[1]} must be two positive numbers')
    config = read_config(config_path, options)
    dataset_meta = _read_dataset_meta(checkpoint) if checkpoint else None
    model = build_model(config_path, options, checkpoint)
    task = graph_class(model).task
    size = size or (anchor_size(model) if task == DETECTION else default_size(config))
    if size is None:
        if task != CLASSIFICATION:
            raise UserError(
                f'{config_path} tests pictures at their own size; say which to export '
                'with --size WIDTH HEIGHT'
            )
        size = (224, 224)
    graph = build_graph(model, size)
    test_cfg = model.bbox_head.test_cfg if task == DETECTION else None
    info = describe(config, task, size, graph.num_classes, test_cfg, dataset_meta)
    export_graph(graph, info, out, format_name)
    return info


def export_graph(
    graph: ExportGraph, info: ModelInfo, out: str | Path, format_name: str
) -> None:
    """Exports a graph; the file appears whole or not at all.

    Args:
        graph: What :func:`mmnv3.deploy.graph.build_graph` returns.
        info: Its description.
        out: File to write. OpenVINO's weights go beside it, as ``.bin``.
        format_name: One of :data:`FORMATS`.

    Raises:
        UserError: When the file's ending is not the format's, or when a package is
            missing.
    """
    _check_ending(out, format_name)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    chosen = FORMATS[format_name]
    with tempfile.TemporaryDirectory(dir=out.parent, prefix='.export-') as folder:
        partial = Path(folder) / out.name
        chosen.write(graph, info, partial)
        # The named file comes last, when what it needs is there.
        for suffix in reversed(chosen.suffixes):
            os.replace(partial.with_suffix(suffix), out.with_suffix(suffix))


def _check_ending(out: str | Path, format_name: str) -> None:
    wanted = FORMATS[format_name].suffixes[0]
    if Path(out).suffix != wanted:
        raise UserError(f'{out}: files of the format {format_name} end in {wanted}')


def _read_dataset_meta(checkpoint: str) -> Mapping | None:
    """What a checkpoint remembers of the data set it was trained on.

    Raises:
        UserError: When there is no such file or it is no checkpoint.
    """
    path = existing_checkpoint(checkpoint)
    try:
        given = CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent')
    except Exception as error:  # A strange file makes the unpickler raise anything.
        reason = str(error).partition('\n')[0].split('. ')[0]
        raise UserError(f'{path} is not a checkpoint ({reason})') from None
    if not isinstance(given, Mapping):
        raise UserError(f'{path} is not a checkpoint (it holds no state dict)')
    return (given.get('meta') or {}).get('dataset_meta')
