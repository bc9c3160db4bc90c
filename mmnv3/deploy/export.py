"""Writes a model as a file that a runtime reads."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.export import ExportedProgram

from mmnv3.deploy.cache import model_parts
from mmnv3.deploy.calibration import check_calibration, read_batches
from mmnv3.deploy.fastest import AUTO, choose_fastest, ways_to_try
from mmnv3.deploy.graph import (
    DetectionGraph,
    ExportGraph,
    SegmentationGraph,
    build_graph,
    graph_class,
)
from mmnv3.deploy.info import EXTRA_FILE, INPUT, RT_INFO, ModelInfo
from mmnv3.deploy.picture_graph import PictureGraph
from mmnv3.deploy.quantization import reduce_precision
from mmnv3.deploy.runtime import FORMATS, Runtime, load_runtime
from mmnv3.deploy.site import MODEL_FORMAT, WEB, check_site, write_site
from mmnv3.deploy.tflite_metadata import write_tflite
from mmnv3.engine.build import build_model
from mmnv3.engine.config import (
    class_colours,
    class_names,
    input_size,
    normalization,
    picture_steps,
)
from mmnv3.engine.hooks.nan_hook import not_finite
from mmnv3.errors import UserError
from mmnv3.files import temporary_folder, whole_or_absent
from mmnv3.optional import require
from mmnv3.resizing import has_whole_pixels
from mmnv3.size import Size
from mmnv3.tasks import DETECTION

# What is exported.
Graph = ExportGraph | PictureGraph

# Formats whose files can take the pixels of resized pictures, but none of any size.
_TAKE_PIXELS = ('litert',)


def _trace(graph: Graph) -> ExportedProgram:
    """PyTorch's own form of an exported graph.

    `Conv2dSame` pads the picture where there might be gradients. Runtimes take that
    into their convolutions, whose kernels then are no larger than they must be.
    """
    shapes = graph.dynamic_shapes() if isinstance(graph, PictureGraph) else None
    with torch.enable_grad():
        return torch.export.export(graph, (graph.example(),), dynamic_shapes=shapes)


def _write_pytorch(graph: Graph, info: ModelInfo, path: Path) -> None:
    extra = {EXTRA_FILE: json.dumps(info.to_strings())}
    torch.export.save(_trace(graph), path, extra_files=extra)


def _write_onnx(graph: Graph, info: ModelInfo, path: Path) -> None:
    onnx = require('onnx', 'onnx')
    require('onnxscript', 'onnx')
    traced = _trace(graph)
    exported = torch.onnx.export(
        traced,
        input_names=[INPUT],
        output_names=info.outputs,
        dynamo=True,
        verbose=False,
        custom_translation_table=_global_average(traced),
    )
    assert exported is not None  # It is for another exporter, which writes a file.
    model = exported.model_proto
    if info.takes_pictures:
        _name_sides(model.graph)
    onnx.helper.set_model_props(model, info.to_strings())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _name_sides(graph: Any) -> None:
    """Calls the sides of the picture by their names, where PyTorch numbers them."""
    height, width = (
        side.dim_param for side in graph.input[0].type.tensor_type.shape.dim[:2]
    )
    names = {height: 'height', width: 'width'}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param in names:
                side.dim_param = names[side.dim_param]


def _global_average(traced: ExportedProgram) -> dict[Callable, Callable]:
    """Lets averages over whole maps be one operator.

    Of channels-last maps PyTorch's exporter writes three: a mean, and two that restore
    the layout. Without them V3-Large takes 1.4 % less time in ONNX Runtime.
    """
    from onnxscript import opset18

    pool = torch.ops.aten.adaptive_avg_pool2d.default
    sizes = [node.args[1] for node in traced.graph.nodes if node.target is pool]
    # A translation is of an operator, so that other sizes leave all to PyTorch.
    if not sizes or any(list(size) != [1, 1] for size in sizes):
        return {}
    return {pool: lambda x, output_size: opset18.GlobalAveragePool(x)}


def _write_openvino(graph: Graph, info: ModelInfo, path: Path) -> None:
    openvino = require('openvino', 'openvino')
    model = openvino.convert_model(
        _trace(graph),
        input=[-1 if side == '?' else side for side in info.file_input],
        extension=[_openvino_nms()],
    )
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, info.outputs, strict=True):
        output.get_tensor().set_names({name})
    for node in model.get_ops():
        if node.get_type_name() == 'TopK':
            # An argmax becomes a stable one, which takes six times as long of maps
            # whose channels lie together: a third of LR-ASPP. Of equal logits, which
            # numbers that were computed are not, any class may then be the one.
            node.set_attribute('stable', False)
    for name, value in info.to_strings().items():
        model.set_rt_info(value, [RT_INFO, name])
    # The default would halve the precision of weights, and of anchors.
    openvino.save_model(model, path, compress_to_fp16=False)


def _openvino_nms() -> Any:
    """Teaches OpenVINO's reader of PyTorch graphs what torchvision's NMS is.

    Upstream fault: OpenVINO 2026.4 converts ``torchvision::nms`` in TorchScript but not
    in exported programs. Goes when it does both.
    """
    from openvino import opset14 as ops
    from openvino.frontend.pytorch import ConversionExtension

    def convert(context: Any) -> list:
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

    return ConversionExtension('torchvision.nms.default', convert)


class _LiteRTGraph(nn.Module):
    """A graph that returns its outputs by name, which LiteRT's signatures keep.

    Of pixels it is TensorFlow's form: they come in as (N, H, W, 3), and maps of logits
    go out with the channels last.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, graph: Graph, info: ModelInfo) -> None:
        super().__init__()
        # `graph` is taken by what tracing makes of this.
        self.network = graph
        self.info = info
        for name in ('mean', 'std'):
            values = torch.tensor(getattr(info, name))
            self.register_buffer(name, values.view(-1, 1, 1))

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        image, pixels = inputs[INPUT], self.info.takes_pixels
        if pixels:
            image = image.permute(0, 3, 1, 2).float()
            image = image.flip(1) if self.info.channel_order == 'bgr' else image
            image = (image - self.mean) / self.std
        found = self.network(image)
        found = (found,) if isinstance(found, Tensor) else found
        if pixels:
            found = [y.permute(0, 2, 3, 1) if y.ndim == 4 else y for y in found]
        return dict(zip(self.network.outputs, found, strict=True))


def _write_litert(graph: Graph, info: ModelInfo, path: Path) -> None:
    _check_phone('LiteRT', info)
    litert_torch = require('litert_torch', 'litert')
    litert_torch.config.show_progress = False
    example = graph.example()
    if info.takes_pixels:
        example = torch.from_numpy(info.empty_batch())
    with torch.enable_grad():  # See `_trace`.
        model = litert_torch.convert(
            _LiteRTGraph(graph, info).eval(), sample_kwargs={INPUT: example}
        )
    model.export(str(path))
    write_tflite(path.read_bytes(), info, path)


def _write_executorch(graph: Graph, info: ModelInfo, path: Path) -> None:
    _check_phone('ExecuTorch', info)
    if info.postprocessed:
        # Its argmax refuses the layout that XNNPACK leaves maps in, when it runs.
        raise UserError(
            'ExecuTorch does not choose classes inside; leave post-processing out'
        )
    lowering = require('executorch.exir', 'executorch')
    xnnpack = require(
        'executorch.backends.xnnpack.partition.xnnpack_partitioner', 'executorch'
    )
    program = lowering.to_edge_transform_and_lower(
        _trace(graph), partitioner=[xnnpack.XnnpackPartitioner()]
    ).to_executorch()
    path.write_bytes(program.buffer)
    # Readers of the model stop where it ends.
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr(EXTRA_FILE, json.dumps(info.to_strings()))


def _check_phone(name: str, info: ModelInfo) -> None:
    """Checks that a phone's runtime has what is asked for.

    Raises:
        UserError: When not.
    """
    if info.takes_pictures:
        raise UserError(
            f'{name} cannot take pictures of any size; leave preprocessing out'
        )
    if info.postprocessed and info.task == DETECTION:
        raise UserError(
            f'{name} has no suppression that can be exported; leave post-processing out'
        )


_WRITERS = {
    'pytorch': _write_pytorch,
    'onnx': _write_onnx,
    'openvino': _write_openvino,
    'litert': _write_litert,
    'executorch': _write_executorch,
}


def export_graph(
    graph: Graph, info: ModelInfo, out: str | Path, format_name: str
) -> None:
    """Exports a graph; the file appears whole or not at all.

    Args:
        graph: What :func:`mmnv3.deploy.graph.build_graph` returns.
        info: Its description.
        out: File to write. OpenVINO's weights go beside it, as ``.bin``.
        format_name: One of :data:`FORMATS`.

    Raises:
        UserError: When the file's ending is not the format's, when a weight is NaN or
            infinite, or when a package is missing.
    """
    check_ending(out, format_name)
    out = Path(out)
    if bad := not_finite(graph.state_dict()):
        raise UserError(
            f'{out}: the weight {bad[0]} is NaN or infinite, the training failed; '
            'export an earlier checkpoint'
        )
    with temporary_folder(out) as folder:
        made = folder / out.name
        _WRITERS[format_name](graph, info, made)
        _move_files(made, out, FORMATS[format_name].suffixes)


def _move_files(made: Path, out: Path, suffixes: tuple[str, ...]) -> None:
    """Renames the files of a format; the named one comes last, when all is there."""
    for suffix in reversed(suffixes):
        with whole_or_absent(out.with_suffix(suffix)) as partial:
            shutil.move(made.with_suffix(suffix), partial)


def check_ending(out: str | Path, format_name: str) -> None:
    """Checks that a file is named as its format wants.

    Raises:
        UserError: When it is not.
    """
    wanted = FORMATS[format_name].suffixes[0]
    if Path(out).suffix != wanted:
        raise UserError(f'{out}: files of the format {format_name} end in {wanted}')


def write_file(
    graph: Graph,
    info: ModelInfo,
    out: Path,
    format_name: str,
    precision: str = 'fp32',
    calibration: Callable[[], Sequence[np.ndarray]] = tuple,
) -> None:
    """Exports a graph in a precision.

    Args:
        graph: What :func:`mmnv3.deploy.graph.build_graph` returns.
        info: Its description.
        out: File to write; it appears whole or not at all.
        format_name: One of :data:`mmnv3.deploy.export.FORMATS`.
        precision: One of those that the format has.
        calibration: Gives normalised batches, float32 of ``info.input_shape``, whose
            values the quantisers look at.

    Raises:
        UserError: When there is nothing to calibrate on, or a package is missing.
    """
    info = replace(info, precision=precision)
    if precision == 'fp32':
        export_graph(graph, info, out, format_name)
        return
    if format_name == 'pytorch':
        export_graph(graph.in_precision(precision), info, out, format_name)
        return
    check_ending(out, format_name)
    with temporary_folder(out) as folder:
        suffixes = FORMATS[format_name].suffixes
        source, made = (folder / f'{name}{suffixes[0]}' for name in ('fp32', 'made'))
        export_graph(graph, info, source, format_name)
        reduce_precision(format_name, precision, source, made, calibration)
        _move_files(made, out, suffixes)


def describe_graph(graph: ExportGraph, model: Any) -> ModelInfo:
    """The description of a graph.

    Args:
        graph: What :func:`mmnv3.deploy.graph.build_graph` made of the model.
        model: What :func:`mmnv3.engine.build.build_model` returns.

    Raises:
        UserError: When a detector's post-processing is more than a threshold and plain
            ``'nms'``, or when pictures cannot be prepared in the config's way outside
            its toolbox.
    """
    config, meta = model.cfg, model.dataset_meta
    about_task: dict[str, Any] = {}
    if isinstance(graph, DetectionGraph):
        about_task = _suppression(model.bbox_head.test_cfg)
    elif isinstance(graph, SegmentationGraph):
        about_task = dict(
            align_corners=model.decode_head.align_corners,
            mask_threshold=graph.mask_threshold,
        )
    return ModelInfo(
        task=graph.task,
        classes=class_names(config, graph.num_classes, meta),
        palette=class_colours(config, graph.num_classes, meta),
        input_shape=tuple(graph.example().shape),
        steps=picture_steps(config, graph.size),
        postprocessed=graph.postprocess,
        **normalization(config)._asdict(),
        **about_task,
    )


def build_picture_graph(
    model: Any, size: Size, batch: int = 1
) -> tuple[PictureGraph, ModelInfo]:
    """A graph that takes a picture as it is, and its description.

    Args:
        model: What :func:`mmnv3.engine.build.build_model` returns.
        size: Pixels of the network's input.
        batch: Pictures of one call, of which there can be one.

    Raises:
        UserError: As :func:`describe_graph`, and for what a graph cannot do to
            pictures of any size.
    """
    if batch != 1:
        raise UserError(
            f'a file that takes pictures of any size takes one a call, not {batch}; '
            'leave the batch out'
        )
    # Classes are chosen when a map has the picture's size.
    inside = graph_class(model).task == DETECTION
    graph = build_graph(model, size, postprocess=inside)
    info = describe_graph(graph, model)
    info = replace(info, takes_pictures=True, postprocessed=True)
    return PictureGraph(graph, info), info


def _with_pixels(info: ModelInfo) -> ModelInfo:
    """The description of a file that normalises itself.

    Raises:
        UserError: When more than normalisation is done in fractions.
    """
    if not has_whole_pixels(info.steps):
        raise UserError(
            'the test pipeline pads normalised pictures or resizes to fractions, and '
            'LiteRT takes pixels of 8 bits; leave preprocessing out'
        )
    return replace(info, takes_pixels=True)


def _suppression(test_cfg: Mapping) -> dict:
    nms = {'type': 'nms', **test_cfg['nms']}
    if set(nms) != {'type', 'iou_threshold'} or nms['type'] != 'nms':
        raise UserError(
            f'test_cfg.nms={dict(test_cfg["nms"])} cannot be exported; plain '
            "dict(type='nms', iou_threshold=…) can"
        )
    if test_cfg.get('min_bbox_size', -1) >= 0:
        raise UserError('test_cfg.min_bbox_size cannot be exported; leave it out')
    return dict(
        score_threshold=float(test_cfg.get('score_thr', 0)),
        iou_threshold=float(nms['iou_threshold']),
        max_detections=int(test_cfg['max_per_img']),
        max_per_class=int(test_cfg.get('nms_pre_per_class', -1)),
        clip_after_nms=bool(test_cfg.get('clip_after_nms', False)),
    )


def export_config(
    config: str | Config,
    checkpoint: str | None,
    out: str | Path,
    format_name: str,
    size: Sequence[int] | None = None,
    options: dict | None = None,
    batch: int = 1,
    postprocess: bool = False,
    precision: str = 'fp32',
    calibration: str | Path | None = None,
    preprocess: bool = False,
) -> ModelInfo:
    """Exports the model of a config.

    Args:
        config: The config, or its file.
        checkpoint: Its weights; random ones for None.
        out: File to write.
        format_name: One of :data:`mmnv3.deploy.export.FORMATS`.
        size: See :func:`mmnv3.engine.config.input_size`.
        options: Settings of the config to override.
        batch: Pictures of one call.
        postprocess: Whether boxes are suppressed, or the best class is chosen, inside.
        precision: One of :data:`mmnv3.deploy.info.PRECISIONS` that the format has, or
            ``'auto'``: the one that is the fastest on this machine. ``'int8'`` is
            quantised by calibration.
        calibration: A folder of pictures like those that the model will see, which
            ``'int8'`` needs; ``'auto'`` tries it only then.
        preprocess: Whether the file takes a picture as it is and does all with it, so
            that it also does its post-processing inside. Of LiteRT's it takes the
            pixels of resized ones, and post-processes where it is asked to.

    Returns:
        The description that the file carries.

    Raises:
        UserError: When something given is missing or does not fit together.
    """
    check_ending(out, format_name)
    _check_precision(format_name, precision, calibration)
    model = build_model(config, options, checkpoint)
    shape = input_size(model.cfg, size)
    graph: Graph
    if preprocess and format_name not in _TAKE_PIXELS:
        graph, info = build_picture_graph(model, shape, batch)
    else:
        graph = build_graph(model, shape, batch, postprocess)
        info = describe_graph(graph, model)
        info = _with_pixels(info) if preprocess else info
    batches = partial(read_batches, calibration or '', info)
    write = partial(write_file, graph, info, calibration=batches)
    if precision == AUTO:
        with_int8 = bool(calibration) and not info.takes_pictures
        about = [*model_parts(model.cfg, checkpoint), info, str(calibration)]
        precision = _fastest(format_name, write, with_int8, about)
    write(Path(out), format_name, precision)
    return replace(info, precision=precision)


def _fastest(
    format_name: str, write: Callable[..., None], with_int8: bool, about: list[Any]
) -> str:
    """The precision in which a format's file takes the least time here.

    Args:
        format_name: One of :data:`mmnv3.deploy.export.FORMATS`.
        write: Writes the file, by its path, the format and the precision.
        with_int8: Whether there is something to calibrate on.
        about: What the file's time depends on; see
            :func:`mmnv3.deploy.fastest.choose_fastest`.
    """
    kind = FORMATS[format_name]
    with tempfile.TemporaryDirectory(prefix='mmnv3-') as folder:

        def start(backend: str, precision: str) -> Runtime:
            path = Path(folder) / f'{precision}{kind.suffixes[0]}'
            write(path, format_name, precision)
            return load_runtime(path)

        ways = ways_to_try([kind.backend], with_int8)
        return choose_fastest(ways, start, [*about, format_name]).precision


def export_site(
    config: str,
    checkpoint: str | None,
    out: str | Path,
    size: Sequence[int] | None = None,
    options: dict | None = None,
    batch: int = 1,
    precision: str = 'fp32',
    calibration: str | Path | None = None,
) -> ModelInfo:
    """Exports the model of a config into a site for browsers, under the config's name.

    Args:
        config: Its file.
        checkpoint: See :func:`export_config`, as for what follows but ``out``.
        out: The site's folder; see :func:`mmnv3.deploy.site.write_site`.
        size: Of the network's input.
        options: Settings of the config to override.
        batch: Pictures of one call, of which there can be one.
        precision: One of those that ONNX files have.
        calibration: A folder of pictures, which ``'int8'`` needs.

    Returns:
        The description that the model's file carries.

    Raises:
        UserError: When something given is missing or does not fit together.
    """
    if precision == AUTO:
        raise UserError(
            f'what is the fastest here need not be so in browsers; export {WEB} in one '
            'precision after the other, and compare them on the page'
        )
    check_site(out)
    _check_precision(MODEL_FORMAT, precision, calibration)
    return write_site(
        out,
        Path(config).stem,
        lambda path: export_config(
            config,
            checkpoint,
            path,
            MODEL_FORMAT,
            size,
            options,
            batch,
            precision=precision,
            calibration=calibration,
            preprocess=True,
        ),
    )


def _check_precision(
    format_name: str, precision: str, calibration: str | Path | None
) -> None:
    """Checks that a format has a precision, and what quantising takes.

    Raises:
        UserError: When not.
    """
    if precision == AUTO:
        if calibration is not None:
            check_calibration(calibration)
        return
    known = FORMATS[format_name].precisions
    if precision not in known:
        raise UserError(
            f'the format {format_name} has no {precision}, but {", ".join(known)}'
        )
    if precision == 'int8':
        check_calibration(calibration)
