"""The layers of a built network, read off what it computes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmnv3.deploy.graph import ExportGraph, PlainGraph, build_graph, graph_class
from mmnv3.errors import UserError
from mmnv3.search.latency.layers import (
    ADD,
    CONV,
    DEPTHWISE,
    LINEAR,
    POOL,
    REST,
    SQUEEZE_EXCITE,
    LayerShape,
)

_ACTS = {
    'relu': 'relu',
    'hardtanh': 'relu6',
    'hardswish': 'hswish',
    'sigmoid': 'sigmoid',
    'hardsigmoid': 'hsigmoid',
}
_GATES = ('sigmoid', 'hsigmoid')
# They give the same numbers another shape.
_VIEWS = ('view', '_unsafe_view', 'reshape', 'flatten', 't', 'squeeze', 'clone')
_NOTHING = (*_VIEWS, 'detach', 'alias', '_to_copy', 'empty', 'zeros', 'unsqueeze')


def as_graph(module: nn.Module, size: tuple[int, int]) -> ExportGraph | PlainGraph:
    """What a runtime would get of a module.

    Args:
        module: A detector, segmenter or classifier of a toolbox, or any module that
            maps a picture to tensors; it stays as it is.
        size: Pixels of the picture, (width, height).
    """
    if isinstance(module, (ExportGraph, PlainGraph)):
        return module
    try:
        graph_class(module)
    except UserError:
        width, height = size
        return PlainGraph(copy.deepcopy(module).cpu(), (1, 3, height, width))
    return build_graph(module, size)


def layers_of(module: nn.Module, size: tuple[int, int]) -> list[LayerShape]:
    """Lists the layers of a network for one picture, without computing anything.

    Args:
        module: A detector, segmenter or classifier of a toolbox, whose boxes,
            probabilities or resized map then belong to it as in an exported file, or
            any module that maps a picture to tensors. It stays as it is.
        size: Pixels of the picture, (width, height).

    Returns:
        The layers in the order that they are run in, and at the end everything else as
        one layer of the kind ``'rest'``.

    Raises:
        UserError: For a detector whose anchors are laid out for another size.
    """
    graph = copy.deepcopy(as_graph(module, size))
    picture = graph.example().to('meta')
    # Under no_grad `Conv2dSame` widens its kernel by zeros, which runtimes do not get.
    with torch.enable_grad(), _Recorder() as recorder:
        graph.to('meta')(picture)
    height, width = picture.shape[-2:]
    rest = LayerShape(REST, recorder.others, recorder.written, height, width)
    return [*(layer for layer in recorder.layers if layer), rest]


class _Recorder(TorchDispatchMode):
    """Makes layers of operations.

    Attributes:
        layers: The layers; None for those that became part of another.
        others: How many operations belong to none.
        written: Numbers that those wrote.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[LayerShape | None] = []
        self.others = 0
        self.written = 0
        self._made_by: dict[int, int] = {}
        self._input_of: dict[int, Tensor] = {}
        self._unpadded: dict[int, Tensor] = {}
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
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.removesuffix('_')
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

    def _append(self, layer: LayerShape, x: Tensor, out: Tensor) -> bool:
        self._made_by[id(out)] = len(self.layers)
        self._input_of[len(self.layers)] = x
        self.layers.append(layer)
        return True

    def _maker(self, x: Any, kinds: tuple[str, ...]) -> int | None:
        """The layer that made a tensor, if it is of these kinds."""
        index = self._made_by.get(id(x))
        layer = None if index is None else self.layers[index]
        return index if layer and layer.kind in kinds else None

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
        channels = before.shape[1]
        depthwise = weight.shape[1] == 1 and channels > 1
        shape = LayerShape(
            DEPTHWISE if depthwise else CONV,
            channels,
            len(weight),
            *before.shape[-2:],
            kernel=weight.shape[-1],
            stride=stride[0],
            dilation=dilation[0],
        )
        symmetric = stride[0] > 1 and before is x and weight.shape[-1] > 1
        if symmetric and any(
            (-(-size // stride[0]) - 1) * stride[0] + weight.shape[-1] - size
            != 2 * padding[0]
            for size in before.shape[-2:]
        ):
            shape = replace(shape, padding='symmetric')
        return self._append(shape, before, out)

    def _linear(self, out: Tensor, bias: Tensor, x: Tensor, weight: Tensor) -> bool:
        return self._append(LayerShape(LINEAR, *weight.shape), x, out)

    def _pool(self, out: Tensor, x: Tensor, *_: Any) -> bool:
        whole = x.ndim == 4 and math.prod(out.shape[2:]) == 1
        channels = x.shape[1]
        return whole and self._append(
            LayerShape(POOL, channels, channels, *x.shape[-2:]), x, out
        )

    def _act(self, name: str, x: Tensor, out: Tensor) -> bool:
        index = self._maker(x, (CONV, DEPTHWISE, LINEAR))
        if index is None or self.layers[index].act or self.layers[index].residual:
            return False
        self.layers[index] = replace(self.layers[index], act=_ACTS[name])
        self._made_by[id(out)] = index
        return True

    def _add(self, out: Tensor, a: Tensor, b: Any, *_: Any) -> bool:
        if not isinstance(b, Tensor) or a.shape != b.shape or a.ndim != 4:
            return False
        for x in (b, a):
            index = self._maker(x, (CONV,))
            layer = None if index is None else self.layers[index]
            if layer and not layer.act and not layer.residual:
                self.layers[index] = replace(layer, residual=True)
                self._made_by[id(out)] = index
                return True
        return self._append(LayerShape(ADD, a.shape[1], *a.shape[1:]), a, out)

    def _mul(self, out: Tensor, a: Tensor, b: Any, *_: Any) -> bool:
        """Finds squeeze-and-excite: pool, convolution, convolution, product."""
        expand = self._maker(b, (CONV,))
        if expand is None or self.layers[expand].act not in _GATES:
            return False
        reduce = self._maker(self._input_of[expand], (CONV,))
        if reduce is None:
            return False
        pool = self._maker(self._input_of[reduce], (POOL,))
        if pool is None or self._input_of[pool] is not a:
            return False
        shape = LayerShape(
            SQUEEZE_EXCITE,
            a.shape[1],
            *a.shape[1:],
            act=self.layers[expand].act,
            hidden=self.layers[reduce].out_channels,
        )
        self.layers[pool] = self.layers[reduce] = self.layers[expand] = None
        return self._append(shape, a, out)
