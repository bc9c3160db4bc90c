"""From a config to the graph that is exported, and to the file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import nn

from mmnv3.deploy.backends import BACKENDS, write_file
from mmnv3.deploy.calibration import read_batches
from mmnv3.deploy.describing import describe
from mmnv3.deploy.export import check_ending
from mmnv3.deploy.graph import ExportGraph, build_graph
from mmnv3.deploy.info import ModelInfo
from mmnv3.engine.build import build_model
from mmnv3.engine.config import input_size
from mmnv3.errors import UserError
from mmnv3.tasks import DETECTION


def describe_graph(graph: ExportGraph, model: nn.Module) -> ModelInfo:
    """The description of a graph.

    Args:
        graph: What :func:`mmnv3.deploy.graph.build_graph` made of the model.
        model: What :func:`mmnv3.engine.build.build_model` returns.

    Raises:
        UserError: When a detector's post-processing is more than a threshold and
            plain ``'nms'``.
    """
    return describe(
        model.cfg,
        graph.task,
        graph.size,
        graph.num_classes,
        model.bbox_head.test_cfg if graph.task == DETECTION else None,
        model.dataset_meta,
        graph.batch,
        graph.postprocess,
    )


def export_config(
    config_path: str,
    checkpoint: str | None,
    out: str | Path,
    format_name: str,
    size: tuple[int, int] | None = None,
    options: dict | None = None,
    batch: int = 1,
    postprocess: bool = False,
    precision: str = 'fp32',
    calibration: str | Path | None = None,
) -> ModelInfo:
    """Exports the model of a config.

    Args:
        config_path: The config.
        checkpoint: Its weights; random ones for None.
        out: File to write.
        format_name: One of :data:`mmnv3.deploy.export.FORMATS`.
        size: See :func:`mmnv3.engine.config.input_size`.
        options: Settings of the config to override.
        batch: Pictures of one call.
        postprocess: Whether boxes are suppressed, or the best class is chosen, inside.
        precision: ``'fp32'``, or ``'int8'`` to quantise by calibration.
        calibration: A folder of pictures like those that the model will see, which
            ``'int8'`` needs.

    Returns:
        The description that the file carries.

    Raises:
        UserError: When something given is missing or does not fit together.
    """
    check_ending(out, format_name)
    if precision == 'int8':
        check_int8(format_name, calibration)
    model = build_model(config_path, options, checkpoint)
    graph = build_graph(model, input_size(model.cfg, size), batch, postprocess)
    info = describe_graph(graph, model)
    batches = partial(read_batches, calibration, info)
    write_file(graph, info, Path(out), format_name, precision, batches)
    return info


def check_int8(format_name: str, calibration: str | Path | None) -> None:
    """Checks that a format can be quantised, and that there is something to do it by.

    Raises:
        UserError: When not.
    """
    if format_name not in BACKENDS.values():
        raise UserError(f'the format {format_name} has no int8; the others have')
    if calibration is None:
        raise UserError(
            'int8 needs pictures to calibrate on; name a folder of some 100 to 200 '
            'like those that the model will see with --calib'
        )
    if not Path(calibration).is_dir():
        raise UserError(f'--calib {calibration}: there is no such folder')
