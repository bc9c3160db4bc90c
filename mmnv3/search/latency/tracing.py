"""The layers of a built network, read off what it computes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmnv3.arch.layers import (
    ADD,
    CONV,
    DEPTHWISE,
    LINEAR,
    POOL,
    SQUEEZE_EXCITE,
    Layer,
    same_padding,
)
from mmnv3.benchmark.counts import ShapesOnly
from mmnv3.deploy.graph import ExportGraph, PlainGraph, build_graph, graph_class
from mmnv3.errors import UserError
from mmnv3.models.layers import HardSigmoidTF
from mmnv3.search.latency.table import Overhead
from mmnv3.size import Size

_ACTS = {
    'relu': 'relu',
    'hardtanh': 'relu6',
    'hardswish': 'hswish',
    'sigmoid': 'sigmoid',
    'hardsigmoid': 'hsigmoid',
}
# Made of three operations: a product, a sum and limits.
_GATE_TF = 'hsigmoid_tf'
_GATES = ('sigmoid', 'hsigmoid', _GATE_TF)
# They give the same numbers another shape.
_VIEWS = ('view', '_unsafe_view', 'reshape', 'flatten', 't', 'squeeze', 'clone')
_NOTHING = (*_VIEWS, 'detach', 'alias', '_to_copy', 'empty', 'zeros', 'unsqueeze')


class Trace(NamedTuple):
    """What a network computes for one picture.

    Attributes:
        layers: Its layers in the order that they are run in.
        overhead: Everything else.
    """

    layers: list[Layer]
    overhead: Overhead


def as_graph(module: nn.Module, size: Size) -> ExportGraph | PlainGraph:
    """What a runtime would get of a module.

    Args:
        module: A detector, segmenter or classifier of a toolbox, or any module that
            maps a picture to tensors; it stays as it is.
        size: Pixels of the picture.
    """
    if isinstance(module, (ExportGraph, PlainGraph)):
        return module
    try:
        graph_class(module)
    except UserError:
        width, height = size
        return PlainGraph(copy.deepcopy(module).cpu(), (1, 3, height, width))
    return build_graph(module, size)


def trace(module: nn.Module, size: Size) -> Trace:
    """Lists the layers of a network for one picture, without computing anything.

    Args:
        module: A detector, segmenter or classifier of a toolbox, whose boxes,
            probabilities or resized map then belong to it as in an exported file, or
            any module that maps a picture to tensors. It stays as it is.
        size: Pixels of the picture.

    Raises:
        UserError: For a detector whose anchors are laid out for another size.
    """
    graph = as_graph(module, size)
    graph = copy.deepcopy(graph) if graph is module else graph
    picture = graph.example().to('meta')
    # Under no_grad `Conv2dSame` widens its kernel by zeros, which runtimes do not get.
    with torch.enable_grad(), _Recorder() as recorder:
        graph.to('meta')(picture)
    height, width = picture.shape[-2:]
    return Trace(
        [layer for layer in recorder.layers if layer],
        Overhead(recorder.others, recorder.written, Size(width, height)),
    )


def padding_shows(layer: Layer, padding: int) -> bool:
    """Whether padding both sides alike differs from what TensorFlow does.

    Args:
        layer: A convolution.
        padding: Rows of either side.
    """
    return layer.stride > 1 and any(
        same_padding(size, layer.kernel, layer.stride, layer.dilation) != 2 * padding
        for size in (layer.height, layer.width)
    )


class _Recorder(ShapesOnly):
    """Makes layers of operations.

    Attributes:
        layers: The layers; None for those that became part of another.
        others: How many operations belong to none.
        written: Numbers that those wrote.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Layer | None] = []
        self.others = 0
        self.written = 0
        self._made_by: dict[int, int] = {}
        self._input_of: dict[int, Tensor] = {}
        self._unpadded: dict[int, Tensor] = {}
        # What TensorFlow's gate makes of a convolution's output before its limits.
        self._before_limits: dict[int, int] = {}
        # A freed tensor's id would be given to another.
        self._alive: list[Any] = []
        self._handlers: dict[str, Callable[..., bool]] = {
            'convolution': self._convolution,
            'addmm': self._linear,
            'mean': self._pool,
            '_adaptive_avg_pool2d': self._pool,
            'add': self._add,
            'mul': self._mul,
            'constant_pad_nd': self._pad,
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = func.overloadpacket.__name__.removesuffix('_')
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if not isinstance(out, Tensor):
            self._alive.append(out)
            return out
        self._alive += [out, *args]
        taken = (
            self._act(name, args[0], out)
            if name in _ACTS
            else name in self._handlers and self._handlers[name](out, *args)
        )
        if name in _NOTHING and args and id(args[0]) in self._made_by:
            self._made_by[id(out)] = self._made_by[id(args[0])]
        elif not taken and name not in _NOTHING:
            self.others += 1
            self.written += out.numel()
        return out

    def _append(self, layer: Layer, x: Tensor, out: Tensor) -> bool:
        self._made_by[id(out)] = len(self.layers)
        self._input_of[len(self.layers)] = x
        self.layers.append(layer)
        return True

    def _maker(self, x: Any, kinds: tuple[str, ...]) -> tuple[int, Layer] | None:
        """The layer that made a tensor and its index, if it is of these kinds."""
        index = self._made_by.get(id(x))
        layer = None if index is None else self.layers[index]
        if index is None or layer is None or layer.kind not in kinds:
            return None
        return index, layer

    def _pad(self, out: Tensor, x: Tensor, *_: Any) -> bool:
        self._unpadded[id(out)] = x
        return True

    def _convolution(
        self,
        out: Tensor,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        *_: Any,
    ) -> bool:
        before = self._unpadded.get(id(x), x)
        channels, height, width = before.shape[1:]
        depthwise = weight.shape[1] == 1 and channels > 1
        layer = Layer(
            DEPTHWISE if depthwise else CONV,
            channels,
            len(weight),
            height,
            width,
            kernel=weight.shape[-1],
            stride=stride[0],
            dilation=dilation[0],
        )
        if before is x and padding_shows(layer, padding[0]):
            layer = replace(layer, padding='symmetric')
        return self._append(layer, before, out)

    def _linear(self, out: Tensor, bias: Tensor, x: Tensor, weight: Tensor) -> bool:
        return self._append(Layer(LINEAR, *weight.shape), x, out)

    def _pool(self, out: Tensor, x: Tensor, *_: Any) -> bool:
        if x.ndim != 4 or math.prod(out.shape[2:]) != 1:
            return False
        channels, height, width = x.shape[1:]
        return self._append(Layer(POOL, channels, channels, height, width), x, out)

    def _act(self, name: str, x: Tensor, out: Tensor) -> bool:
        act = _ACTS[name]
        index, layer = self._maker(x, (CONV, DEPTHWISE, LINEAR)) or (0, None)
        if name == 'hardtanh' and id(x) in self._before_limits:
            act, index = _GATE_TF, self._before_limits[id(x)]
            layer = self.layers[index]
        if not layer or layer.act or layer.residual:
            return False
        self.layers[index] = replace(layer, act=act)
        self._made_by[id(out)] = index
        return True

    def _add(self, out: Tensor, a: Tensor, b: Any, *_: Any) -> bool:
        if id(a) in self._before_limits and not isinstance(b, Tensor):
            self._before_limits[id(out)] = self._before_limits[id(a)]
            return True
        if not isinstance(b, Tensor) or a.shape != b.shape or a.ndim != 4:
            return False
        for x in (b, a):
            index, layer = self._maker(x, (CONV,)) or (0, None)
            if layer and not layer.act and not layer.residual:
                self.layers[index] = replace(layer, residual=True)
                self._made_by[id(out)] = index
                return True
        channels, height, width = a.shape[1:]
        return self._append(Layer(ADD, channels, channels, height, width), a, out)

    def _mul(self, out: Tensor, a: Tensor, b: Any, *_: Any) -> bool:
        """Finds squeeze-and-excite: pool, convolution, convolution, product."""
        gated = self._maker(a, (CONV,))
        if gated and isinstance(b, float) and b == HardSigmoidTF.FACTOR:
            self._before_limits[id(out)] = gated[0]
            return True
        expand = self._maker(b, (CONV,))
        if not expand or expand[1].act not in _GATES:
            return False
        reduce = self._maker(self._input_of[expand[0]], (CONV,))
        pool = reduce and self._maker(self._input_of[reduce[0]], (POOL,))
        if not reduce or not pool or self._input_of[pool[0]] is not a:
            return False
        channels, height, width = a.shape[1:]
        layer = Layer(
            SQUEEZE_EXCITE,
            channels,
            channels,
            height,
            width,
            act=expand[1].act,
            hidden=reduce[1].out_channels,
        )
        for maker in (pool, reduce, expand):
            self.layers[maker[0]] = None
        return self._append(layer, a, out)
