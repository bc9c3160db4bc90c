"""Writes a model as a file that a runtime reads."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from mmnv3.deploy.graph import ExportGraph
from mmnv3.deploy.info import DETECTION, EXTRA_FILE, INPUT, RT_INFO, ModelInfo
from mmnv3.deploy.optional import require
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
    from mmnv3.deploy.openvino_nms import nms_extension

    model = openvino.convert_model(
        _trace(graph), input=list(info.input_shape), extension=[nms_extension()]
    )
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
    if info.postprocessed and info.task == DETECTION:
        raise UserError(
            'LiteRT has no suppression that can be exported; leave post-processing out'
        )
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
    check_ending(out, format_name)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    chosen = FORMATS[format_name]
    with tempfile.TemporaryDirectory(dir=out.parent, prefix='.export-') as folder:
        partial = Path(folder) / out.name
        chosen.write(graph, info, partial)
        move_files(partial, out, chosen.suffixes)


def move_files(partial: Path, out: Path, suffixes: tuple[str, ...]) -> None:
    """Renames the files of a format; the named one comes last, when all is there."""
    for suffix in reversed(suffixes):
        os.replace(partial.with_suffix(suffix), out.with_suffix(suffix))


def check_ending(out: str | Path, format_name: str) -> None:
    """Checks that a file is named as its format wants.

    Raises:
        UserError: When it is not.
    """
    wanted = FORMATS[format_name].suffixes[0]
    if Path(out).suffix != wanted:
        raise UserError(f'{out}: files of the format {format_name} end in {wanted}')
