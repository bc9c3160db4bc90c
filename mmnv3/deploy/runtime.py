"""One interface over the runtimes that execute models: files, or the graph itself."""

from __future__ import annotations

import json
import threading
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mmnv3.cpu import has_bf16
from mmnv3.deploy.info import (
    EXTRA_FILE,
    INPUT,
    PRECISIONS,
    RT_INFO,
    TOP,
    ModelInfo,
)
from mmnv3.deploy.torch_archive import load_program
from mmnv3.errors import UserError, first_line
from mmnv3.optional import require
from mmnv3.tasks import DETECTION, SEGMENTATION

if TYPE_CHECKING:  # It imports the toolboxes, which exported files do without.
    from mmnv3.deploy.graph import ExportGraph


class DamagedFile(UserError):
    """A file that cannot be what it should; making it anew helps."""


class Runtime(ABC):
    """A loaded model.

    Attributes:
        info: How to feed it and what its outputs mean.
        any_size: Whether it also takes other sizes than ``info.size``.
        path: Its file; None for a graph that is run itself.
    """

    info: ModelInfo
    any_size: bool = False
    path: Path | None = None

    def __call__(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the network.

        Args:
            batch: Normalised pictures, float32 of ``info.input_shape``; where
                ``info.takes_pixels``, resized ones, (N, H, W, 3) uint8 RGB; where
                ``info.takes_pictures``, one as it is, (H, W, 3) uint8 RGB.

        Returns:
            The outputs by name, as :mod:`mmnv3.deploy.graph` has them: ``boxes`` and
            ``scores``, or ``logits``; post-processed ``boxes``, ``scores`` and
            ``labels``, ``mask``, or ``scores``. Of what takes pictures they are those
            of :mod:`mmnv3.deploy.picture_graph`, with a leading axis for the one.

        Raises:
            UserError: For a batch of another shape or type, and when a file cannot be
                run or gives something else than it says.
        """
        info, shape = self.info, batch.shape
        if info.takes_pictures:
            wanted, kind = 'uint8 of the shape (H, W, 3)', 'uint8'
            fits = batch.ndim == 3 and shape[2] == 3 and batch.size > 0
            shape = 1, 3, *shape[:2]
        elif info.takes_pixels:
            wanted, kind = f'uint8 of the shape {info.batch_shape}', 'uint8'
            fits, shape = shape == info.batch_shape, info.input_shape
        else:
            wanted, kind = f'float32 of the shape {info.input_shape}', 'float32'
            known = 2 if self.any_size else 4
            fits = batch.ndim == 4 and shape[:known] == info.input_shape[:known]
        if not fits or batch.dtype != kind:
            raise UserError(
                f'the model takes {wanted}, and got {batch.dtype} of {batch.shape}'
            )
        try:
            found = self._run(batch)
            if info.takes_pictures:
                found = [output[None] for output in found]
            outputs = dict(zip(info.outputs, found, strict=True))
            _check_outputs(outputs, info, shape)
        except DamagedFile as error:
            raise DamagedFile(f'{self.path or "the model"}: {error}') from None
        except Exception as error:
            if self.path is None:
                raise
            raise DamagedFile(
                f'{self.path} cannot be run ({_reason(error)}); export the model again'
            ) from None
        return outputs

    def run_blank(self) -> None:
        """Runs the network on a picture of nothing, whose outputs are of no use."""
        self(self.info.empty_batch())

    @abstractmethod
    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        """The outputs in the order of ``info.outputs``."""


class _TorchThreads:
    """The number of PyTorch's threads, of which parts belong to the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0

    @contextmanager
    def __call__(self, number: int | None) -> Iterator[None]:
        """Sets a number, and brings back the one that was before all who do so at once.

        Args:
            number: Threads of one call; None leaves all as it is.
        """
        if number is None:
            yield
            return
        with self._lock:
            if not self._users:
                self._before = torch.get_num_threads()
            self._users += 1
            torch.set_num_threads(number)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                # This thread's own part comes back in any case.
                torch.set_num_threads(self._before)


torch_threads = _TorchThreads()


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
    def load(
        cls, path: Path, threads: int | None, precision: str | None = None
    ) -> PyTorchRuntime:
        """Reads a ``.pt2`` file."""
        program, strings = load_program(path)
        info = _described(path, strings, precision)
        inputs = program.graph_signature.user_inputs
        shapes = {
            str(node.name): node.meta['val'].shape
            for node in program.graph.nodes
            if node.op == 'placeholder' and node.name in inputs
        }
        _check_input(path, info, shapes)
        return cls(program.module(), info, threads)

    @torch.inference_mode()
    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        with torch_threads(self._threads):
            found = self._module(torch.from_numpy(batch))
        found = (found,) if isinstance(found, Tensor) else found
        return [output.numpy() for output in found]


class OnnxRuntime(Runtime):
    """Runs an ``.onnx`` file with ONNX Runtime on the CPU.

    Args:
        path: The file.
        threads: Threads of one call; the cores for None.
        precision: What it must be exported in; whatever it is for None.
    """

    def __init__(
        self, path: Path, threads: int | None, precision: str | None = None
    ) -> None:
        onnxruntime = require('onnxruntime', 'onnx')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # Warnings about its own rewriting are nothing that a user can mend.
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            path,
            options,
            providers=['CPUExecutionProvider'],
            # It would try the same once more, and print that.
            enable_fallback=0,
        )
        strings = self._session.get_modelmeta().custom_metadata_map
        self.info = _described(path, strings, precision)
        inputs = {node.name: node.shape for node in self._session.get_inputs()}
        _check_input(path, self.info, inputs)

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        return self._session.run(list(self.info.outputs), {INPUT: batch})


class OpenVINORuntime(Runtime):
    """Runs an ``.xml`` file, with its ``.bin`` beside it, with OpenVINO on the CPU.

    Args:
        path: The file.
        threads: Threads of one call; OpenVINO's own number for None.
        precision: What it computes in: ``'bf16'`` also of a float file of another; what
            it is exported in for None.
    """

    def __init__(
        self, path: Path, threads: int | None, precision: str | None = None
    ) -> None:
        openvino = require('openvino', 'openvino')
        core = openvino.Core()
        model = core.read_model(path)
        strings = {
            name: model.get_rt_info([RT_INFO, name]).astype(str)
            for name in (*ModelInfo.__dataclass_fields__, 'resize_edge')
            if model.has_rt_info([RT_INFO, name])
        }
        self.info = _described(path, strings, precision, ('fp32', 'fp16'))
        settings = {
            'PERFORMANCE_HINT': 'LATENCY',
            # By itself it would compute in bfloat16 where the CPU can, and lose three
            # digits unasked.
            'INFERENCE_PRECISION_HINT': _openvino_type(core, self.info.precision),
            # Pinned to a core that others use, a picture takes five times as long; and
            # several runtimes of one process are pinned to the same.
            'ENABLE_CPU_PINNING': False,
        }
        if threads:
            settings['INFERENCE_NUM_THREADS'] = threads
        inputs = {
            node.get_any_name(): [str(side) for side in node.get_partial_shape()]
            for node in model.inputs
        }
        _check_input(path, self.info, inputs)
        # Its activations make numbers of NaN, so that its outputs would not tell.
        for node in model.get_ops():
            if node.get_type_name() == 'Constant' and _has_nan(node):
                raise UserError(
                    f'{path}: the weight {node.get_friendly_name()} is NaN, the '
                    'training failed; export an earlier checkpoint'
                )
        compiled = core.compile_model(model, 'CPU', settings)
        self._request = compiled.create_infer_request()

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        found = self._request.infer({INPUT: batch}, share_inputs=True)
        return [found[name] for name in self.info.outputs]


def _has_nan(constant: Any) -> bool:
    real = constant.get_element_type().is_real()
    return real and bool(np.isnan(constant.data).any())


class LiteRTRuntime(Runtime):
    """Runs a ``.tflite`` file with LiteRT on the CPU.

    Args:
        path: The file.
        threads: Threads of one call; LiteRT's own number for None.
        precision: What it must be exported in; whatever it is for None.
    """

    def __init__(
        self, path: Path, threads: int | None, precision: str | None = None
    ) -> None:
        litert = require('ai_edge_litert.interpreter', 'litert')
        self.info = _described(path, _appended_strings(path), precision)
        self._interpreter = litert.Interpreter(str(path), num_threads=threads)
        self._run_signature = self._interpreter.get_signature_runner()
        inputs = self._run_signature.get_input_details()
        shapes = {name: details['shape'] for name, details in inputs.items()}
        _check_input(path, self.info, shapes)

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        found = self._run_signature(**{INPUT: batch})
        return [
            # Beside pixels channels come last, as TensorFlow has them.
            np.moveaxis(found[name], -1, 1)
            if self.info.takes_pixels and found[name].ndim == 4
            else found[name]
            for name in self.info.outputs
        ]


class ExecuTorchRuntime(Runtime):
    """Runs a ``.pte`` file with ExecuTorch, by XNNPACK on the CPU.

    Args:
        path: The file.
        threads: Threads of every such file of the process, which share them;
            ExecuTorch's own number for None.
        precision: What it must be exported in; whatever it is for None.
    """

    def __init__(
        self, path: Path, threads: int | None, precision: str | None = None
    ) -> None:
        executorch = require('executorch.runtime', 'executorch')
        shared = require('executorch.extension.pybindings.portable_lib', 'executorch')
        self.info = _described(path, _appended_strings(path), precision)
        # A pool that is in use must not be replaced.
        if threads not in (None, shared._threadpool_get_thread_count()):
            shared._unsafe_reset_threadpool(threads)
        program = executorch.Runtime.get().load_program(path)
        self._method = program.load_method('forward')
        shape = self._method.metadata.input_tensor_meta(0).sizes()
        _check_input(path, self.info, {INPUT: shape})

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        return [found.numpy() for found in self._method.execute([_tensor(batch)])]


def _tensor(batch: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(batch))


def _appended_strings(path: Path) -> dict[str, str]:
    """The description behind a model whose readers stop where it ends."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if EXTRA_FILE in archive.namelist():
                return json.loads(archive.read(EXTRA_FILE))
    return {}


def _openvino_type(core: Any, precision: str) -> str:
    """OpenVINO's name of what it computes a file of some precision in."""
    if precision == 'fp16':
        known = core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        return 'f16' if 'FP16' in known else 'f32'
    return 'bf16' if precision == 'bf16' else 'f32'


def _described(
    path: Path,
    strings: Mapping[str, str],
    precision: str | None,
    also_bf16: tuple[str, ...] = (),
) -> ModelInfo:
    """A file's description, with the precision that it will be run in.

    Args:
        path: The file.
        strings: The description that it carries.
        precision: That is asked for; the file's own for None.
        also_bf16: Precisions of files that run in bfloat16, too.

    Raises:
        UserError: When it cannot run in that precision, here or anywhere.
    """
    info = ModelInfo.from_strings(strings, str(path))
    own = info.precision
    if precision not in (None, own) and not (precision == 'bf16' and own in also_bf16):
        raise UserError(
            f'{path} is exported in {own}, and does not run in {precision}; export it '
            f'with --precision {precision}, or leave the precision out'
        )
    check_processor(precision or own, str(path))
    return replace(info, precision=precision or own)


@dataclass(frozen=True)
class Format:
    """A kind of file, and who runs it.

    Attributes:
        suffixes: Endings of its files; the first is of the one that is named.
        backend: The name of what runs them.
        load: Loads one, for a number of threads, in a precision.
        precisions: Those of :data:`mmnv3.deploy.info.PRECISIONS` that it has.
        packages: What writes and runs them, besides PyTorch, as pip names it.
    """

    suffixes: tuple[str, ...]
    backend: str
    load: Callable[[Path, int | None, str | None], Runtime]
    precisions: tuple[str, ...]
    packages: tuple[str, ...] = ()


FORMATS = {
    'pytorch': Format(('.pt2',), 'pytorch', PyTorchRuntime.load, ('fp32', 'bf16')),
    'onnx': Format(
        ('.onnx',),
        'onnxruntime',
        OnnxRuntime,
        # Its processors' kernels have no bfloat16.
        ('fp32', 'fp16', 'int8'),
        ('onnx', 'onnxscript', 'onnxruntime'),
    ),
    'openvino': Format(
        ('.xml', '.bin'), 'openvino', OpenVINORuntime, PRECISIONS, ('openvino', 'nncf')
    ),
    'litert': Format(
        ('.tflite',),
        'litert',
        LiteRTRuntime,
        ('fp32', 'fp16', 'int8'),
        ('litert-torch', 'ai-edge-litert', 'ai-edge-quantizer'),
    ),
    'executorch': Format(
        ('.pte',), 'executorch', ExecuTorchRuntime, ('fp32',), ('executorch',)
    ),
}
# The format of the file that a backend runs; None runs the graph itself.
BACKENDS: dict[str, str | None] = {
    'pytorch': None,
    'compile': None,
    **{kind.backend: name for name, kind in FORMATS.items() if name != 'pytorch'},
}


def file_format(path: str | Path) -> Format | None:
    """The format that a file is named as; None for other files."""
    suffix = Path(path).suffix
    return next((f for f in FORMATS.values() if f.suffixes[0] == suffix), None)


def load_runtime(
    path: str | Path, threads: int | None = None, precision: str | None = None
) -> Runtime:
    """Loads a file of :mod:`mmnv3.deploy.export` into the runtime that it is for.

    Args:
        path: ``.pt2`` (PyTorch), ``.onnx`` (ONNX Runtime), ``.xml`` (OpenVINO),
            ``.tflite`` (LiteRT) or ``.pte`` (ExecuTorch).
        threads: Threads of one call; the runtime's own number for None.
        precision: One of :data:`mmnv3.deploy.info.PRECISIONS`; that of the file for
            None. OpenVINO runs files of ``'fp32'`` and ``'fp16'`` in ``'bf16'``, too.

    Raises:
        UserError: When there is no such file, its ending is unknown, it is damaged or
            not of ours, when the runtime is not installed, or when the file does not
            run in that precision.
    """
    path = Path(path)
    chosen = file_format(path)
    if chosen is None:
        endings = ', '.join(kind.suffixes[0] for kind in FORMATS.values())
        raise UserError(f'{path}: unknown ending; possible: {endings}')
    if not path.is_file():
        raise UserError(f'{path}: there is no such file')
    try:
        runtime = chosen.load(path, threads, precision)
    except UserError:
        raise
    except Exception as error:  # Every runtime has exceptions of its own.
        raise DamagedFile(
            f'{path} cannot be read ({_reason(error)}); export the model again'
        ) from None
    runtime.path = path
    return runtime


def _reason(error: Exception) -> str:
    """Why a library could not do something, without the pages that follow."""
    return first_line(error)[:200] or type(error).__name__


def _check_input(path: Path, info: ModelInfo, inputs: Mapping[str, Sequence]) -> None:
    """Checks that a file's network takes what its description says.

    Args:
        path: The file.
        info: Its description.
        inputs: Shapes by name.

    Raises:
        DamagedFile: When not.
    """
    shapes = {name: tuple(map(_side, shape)) for name, shape in inputs.items()}
    wanted = tuple(map(str, info.file_input))
    if shapes != {INPUT: wanted}:
        told = ', '.join(f'{n} of {"x".join(shape)}' for n, shape in shapes.items())
        raise DamagedFile(
            f'{path} takes {told or "nothing"}, and its description says {INPUT} of '
            f'{"x".join(wanted)}; export the model again'
        )


def _side(length: object) -> str:
    """A side of an input's shape; ``'?'`` for what has a name or limits instead."""
    return str(length) if str(length).isdecimal() else '?'


def _check_outputs(
    outputs: Mapping[str, np.ndarray], info: ModelInfo, batch: Sequence[int]
) -> None:
    """Checks that outputs are what a description says.

    Args:
        outputs: What the network gave.
        info: The description.
        batch: The input's shape.

    Raises:
        DamagedFile: When not.
    """
    count, (height, width) = batch[0], batch[2:]
    classes = len(info.classes)
    named = min(TOP, classes) if info.takes_pictures else classes
    maps = 1 if info.mask_threshold is not None else classes
    shapes: dict[str, tuple[int, ...]] = {
        'mask': (count, height, width),
        'logits': (count, maps, height, width)
        if info.task == SEGMENTATION
        else (count, classes),
    }
    if info.task == DETECTION:
        # So many as there are anchors, or detections.
        rows = outputs['boxes'].shape[1:2]
        one = (count, *rows)
        scores = one if info.postprocessed else (*one, classes)
        shapes |= {'boxes': (*one, 4), 'scores': scores, 'labels': one}
    else:
        shapes |= {'scores': (count, named), 'labels': (count, named)}
    for name, found in outputs.items():
        wanted = shapes.get(name, found.shape)
        whole = name in ('mask', 'labels')
        if found.shape != wanted or found.dtype.kind != ('i' if whole else 'f'):
            raise DamagedFile(
                f'{name} is {found.dtype} of {found.shape}, and the description says '
                f'{"whole" if whole else "real"} numbers of {wanted}; export the model '
                'again'
            )
        # A mask of -1 says that the logits were NaN.
        least = -1 if name == 'mask' else 0
        if whole and found.size and not least <= found.min() <= found.max() < classes:
            raise DamagedFile(
                f'{name} names classes that are not among the {classes} of the '
                'description; export the model again'
            )


def check_backend(backend: str, precision: str = 'fp32') -> None:
    """Checks that there is such a backend, and that it has such numbers.

    Raises:
        UserError: When not; says what there is.
    """
    if backend not in BACKENDS:
        raise UserError(
            f'backend {backend!r} is unknown; possible: {", ".join(BACKENDS)}'
        )
    check_precision(precision)
    if precision not in backend_precisions(backend):
        others = [name for name in BACKENDS if precision in backend_precisions(name)]
        raise UserError(
            f'backend {backend!r} has no {precision}, but '
            f'{", ".join(backend_precisions(backend))}; {precision} is of '
            f'{", ".join(others)}'
        )


def check_precision(precision: str) -> None:
    """Checks that there is such a precision.

    Raises:
        UserError: When not; says what there is.
    """
    if precision not in PRECISIONS:
        raise UserError(
            f'precision {precision!r} is unknown; possible: {", ".join(PRECISIONS)}'
        )


def backend_precisions(backend: str) -> tuple[str, ...]:
    """What a backend can compute in, of :data:`mmnv3.deploy.info.PRECISIONS`."""
    return FORMATS[BACKENDS[backend] or 'pytorch'].precisions


def check_processor(precision: str, what: str) -> None:
    """Checks that the processor gains by a precision.

    Args:
        precision: One of :data:`mmnv3.deploy.info.PRECISIONS`.
        what: What should be run, for the message.

    Raises:
        UserError: When it is bfloat16, which the processor does not have.
    """
    if precision == 'bf16' and not has_bf16():
        raise UserError(
            f'{what}: this processor has no bfloat16 (AVX-512-BF16, AMX, or Arm’s '
            'bf16), and would take longer with it; take fp32, fp16 or int8'
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
    check_processor(info.precision, f'backend {backend!r}')
    if backend == 'compile':
        # Freezing lays the weights out for the kernels once for all. Of a second
        # model PyTorch would make a graph for any size, in minutes.
        compiled = torch.compile(graph, dynamic=False, options={'freezing': True})
        return PyTorchRuntime(compiled, info, threads)
    # Only a segmenter's eager graph asks for nothing but the picture's own size.
    return PyTorchRuntime(graph, info, threads, any_size=graph.task == SEGMENTATION)
