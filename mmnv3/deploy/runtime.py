"""One interface over the runtimes that execute models: files, or the graph itself."""

from __future__ import annotations

import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmnv3.deploy.info import EXTRA_FILE, INPUT, RT_INFO, ModelInfo
from mmnv3.deploy.optional import require
from mmnv3.errors import UserError
from mmnv3.tasks import SEGMENTATION

if TYPE_CHECKING:  # It imports the toolboxes, which exported files do without.
    from mmnv3.deploy.graph import ExportGraph


class Runtime(ABC):
    """A loaded model.

    Attributes:
        info: How to feed it and what its outputs mean.
        any_size: Whether it also takes other sizes than ``info.size``.
    """

    info: ModelInfo
    any_size: bool = False

    def __call__(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the network.

        Args:
            batch: Normalised pictures, float32 of ``info.input_shape``.

        Returns:
            The outputs by name, as :mod:`mmnv3.deploy.graph` has them: ``boxes`` and
            ``scores``, or ``logits``; post-processed ``boxes``, ``scores`` and
            ``labels``, ``mask``, or ``scores``.

        Raises:
            UserError: For a batch of another shape or type.
        """
        wanted = self.info.input_shape
        known = 2 if self.any_size else 4
        fits = batch.ndim == 4 and batch.shape[:known] == wanted[:known]
        if not fits or batch.dtype != np.float32:
            raise UserError(
                f'the model takes float32 of the shape {wanted}, and got '
                f'{batch.dtype} of {batch.shape}'
            )
        return dict(zip(self.info.outputs, self._run(batch), strict=True))

    @abstractmethod
    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        """The outputs in the order of ``info.outputs``."""


class PyTorchRuntime(Runtime):
    """Runs a module of :mod:`mmnv3.deploy.graph`, or one that was exported.

    Args:
        module: The module.
        info: Its description.
        threads: Threads of one call; PyTorch's own number for None.
        any_size: See :class:`Runtime`.
    """

    def __init__(
        self,
        module: Callable[[Tensor], Tensor | tuple[Tensor, ...]],
        info: ModelInfo,
        threads: int | None = None,
        any_size: bool = False,
    ) -> None:
        self.info = info
        self.any_size = any_size
        self._module = module
        self._threads = threads

    @classmethod
    def load(cls, path: Path, threads: int | None) -> PyTorchRuntime:
        """Reads a ``.pt2`` file."""
        extra = {EXTRA_FILE: ''}
        program = torch.export.load(path, extra_files=extra)
        info = ModelInfo.from_strings(json.loads(extra[EXTRA_FILE] or '{}'), str(path))
        return cls(program.module(), info, threads)

    @torch.inference_mode()
    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        before = torch.get_num_threads()
        # The number belongs to the process.
        torch.set_num_threads(self._threads or before)
        try:
            found = self._module(torch.from_numpy(batch))
        finally:
            torch.set_num_threads(before)
        found = (found,) if isinstance(found, Tensor) else found
        return [output.numpy() for output in found]


class OnnxRuntime(Runtime):
    """Runs an ``.onnx`` file with ONNX Runtime on the CPU.

    Args:
        path: The file.
        threads: Threads of one call; the cores for None.
    """

    def __init__(self, path: Path, threads: int | None) -> None:
        onnxruntime = require('onnxruntime', 'onnx')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # Warnings about its own rewriting are nothing that a user can mend.
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            path, options, providers=['CPUExecutionProvider']
        )
        self.info = ModelInfo.from_strings(
            self._session.get_modelmeta().custom_metadata_map, str(path)
        )

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        return self._session.run(list(self.info.outputs), {INPUT: batch})


class OpenVINORuntime(Runtime):
    """Runs an ``.xml`` file, with its ``.bin`` beside it, with OpenVINO on the CPU.

    Args:
        path: The file.
        threads: Threads of one call; OpenVINO's own number for None.
    """

    def __init__(self, path: Path, threads: int | None) -> None:
        openvino = require('openvino', 'openvino')
        core = openvino.Core()
        model = core.read_model(path)
        strings = {
            name: model.get_rt_info([RT_INFO, name]).astype(str)
            for name in (*ModelInfo.__dataclass_fields__, 'resize_edge')
            if model.has_rt_info([RT_INFO, name])
        }
        self.info = ModelInfo.from_strings(strings, str(path))
        settings = {
            'PERFORMANCE_HINT': 'LATENCY',
            # It would compute in bfloat16 where the CPU can, and lose three digits.
            'INFERENCE_PRECISION_HINT': 'f32',
            # Pinned to a core that others use, a picture takes five times as long; and
            # several runtimes of one process are pinned to the same.
            'ENABLE_CPU_PINNING': False,
        }
        if threads:
            settings['INFERENCE_NUM_THREADS'] = threads
        compiled = core.compile_model(model, 'CPU', settings)
        self._request = compiled.create_infer_request()

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        found = self._request.infer({INPUT: batch}, share_inputs=True)
        return [found[name] for name in self.info.outputs]


class LiteRTRuntime(Runtime):
    """Runs a ``.tflite`` file with LiteRT on the CPU.

    Args:
        path: The file.
        threads: Threads of one call; LiteRT's own number for None.
    """

    def __init__(self, path: Path, threads: int | None) -> None:
        litert = require('ai_edge_litert.interpreter', 'litert')
        strings: str | bytes = '{}'
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if EXTRA_FILE in archive.namelist():
                    strings = archive.read(EXTRA_FILE)
        self.info = ModelInfo.from_strings(json.loads(strings), str(path))
        self._interpreter = litert.Interpreter(str(path), num_threads=threads)
        self._run_signature = self._interpreter.get_signature_runner()

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        found = self._run_signature(**{INPUT: batch})
        return [found[name] for name in self.info.outputs]


@dataclass(frozen=True)
class Format:
    """A kind of file, and who runs it.

    Attributes:
        suffixes: Endings of its files; the first is of the one that is named.
        backend: The name of what runs them.
        load: Loads one, for a number of threads.
        packages: What writes and runs them, besides PyTorch, as pip names it.
    """

    suffixes: tuple[str, ...]
    backend: str
    load: Callable[[Path, int | None], Runtime]
    packages: tuple[str, ...] = ()


FORMATS = {
    'pytorch': Format(('.pt2',), 'pytorch', PyTorchRuntime.load),
    'onnx': Format(
        ('.onnx',), 'onnxruntime', OnnxRuntime, ('onnx', 'onnxscript', 'onnxruntime')
    ),
    'openvino': Format(('.xml', '.bin'), 'openvino', OpenVINORuntime, ('openvino',)),
    'litert': Format(
        ('.tflite',), 'litert', LiteRTRuntime, ('litert-torch', 'ai-edge-litert')
    ),
}
# The format of the file that a backend runs; None runs the graph itself.
BACKENDS: dict[str, str | None] = {
    'pytorch': None,
    'compile': None,
    **{kind.backend: name for name, kind in FORMATS.items() if name != 'pytorch'},
}
PRECISIONS = ('fp32', 'int8')


def file_format(path: str | Path) -> Format | None:
    """The format that a file is named as; None for other files."""
    suffix = Path(path).suffix
    return next((f for f in FORMATS.values() if f.suffixes[0] == suffix), None)


def load_runtime(path: str | Path, threads: int | None = None) -> Runtime:
    """Loads a file of :mod:`mmnv3.deploy.export` into the runtime that it is for.

    Args:
        path: ``.pt2`` (PyTorch), ``.onnx`` (ONNX Runtime), ``.xml`` (OpenVINO) or
            ``.tflite`` (LiteRT).
        threads: Threads of one call; the runtime's own number for None.

    Raises:
        UserError: When there is no such file, its ending is unknown, it is damaged or
            not of ours, or when the runtime is not installed.
    """
    path = Path(path)
    chosen = file_format(path)
    if chosen is None:
        endings = ', '.join(kind.suffixes[0] for kind in FORMATS.values())
        raise UserError(f'{path}: unknown ending; possible: {endings}')
    if not path.is_file():
        raise UserError(f'{path}: there is no such file')
    try:
        return chosen.load(path, threads)
    except UserError:
        raise
    except Exception as error:  # Every runtime has exceptions of its own.
        reason = str(error).strip().partition('\n')[0]
        raise UserError(f'{path} cannot be read ({reason})') from None


def check_backend(backend: str, precision: str = 'fp32') -> None:
    """Checks that there is such a backend, and that it has such numbers.

    Raises:
        UserError: When not; says what there is.
    """
    if backend not in BACKENDS:
        raise UserError(
            f'backend {backend!r} is unknown; possible: {", ".join(BACKENDS)}'
        )
    if precision not in PRECISIONS:
        raise UserError(
            f'precision {precision!r} is unknown; possible: {", ".join(PRECISIONS)}'
        )
    if precision != 'fp32' and BACKENDS[backend] is None:
        files = [name for name, kind in BACKENDS.items() if kind]
        raise UserError(
            f'backend {backend!r} has no {precision}; possible: {", ".join(files)}'
        )


def file_suffix(backend: str) -> str:
    """The ending of the files that a backend runs."""
    return FORMATS[BACKENDS[backend] or backend].suffixes[0]


def run_graph(
    graph: ExportGraph, info: ModelInfo, backend: str, threads: int | None = None
) -> Runtime:
    """Runs a graph by PyTorch, as it is or compiled.

    Args:
        graph: What :func:`mmnv3.deploy.graph.build_graph` returns.
        info: Its description.
        backend: ``'pytorch'`` or ``'compile'``.
        threads: Threads of one call; PyTorch's own number for None.
    """
    if backend == 'compile':
        # Freezing lays the weights out for the kernels once for all. Of a second
        # model PyTorch would make a graph for any size, in minutes.
        compiled = torch.compile(graph, dynamic=False, options={'freezing': True})
        return PyTorchRuntime(compiled, info, threads)
    # Only a segmenter's eager graph asks for nothing but the picture's own size.
    return PyTorchRuntime(graph, info, threads, any_size=graph.task == SEGMENTATION)
