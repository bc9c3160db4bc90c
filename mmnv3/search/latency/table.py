"""Prices of layers, measured on one machine through one backend."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from torch import nn

from mmnv3.arch import NetSpec
from mmnv3.benchmark.machine import describe_machine, machine_line
from mmnv3.deploy.runtime import check_backend
from mmnv3.errors import Remark, UserError
from mmnv3.files import whole_or_absent
from mmnv3.search.latency.law import Law
from mmnv3.search.latency.layers import KINDS, REST, LayerShape, layers_of_spec
from mmnv3.search.latency.together import Company, NetworkTime
from mmnv3.search.latency.tracing import layers_of

FORMAT = 'mmnv3-latency-2'
# What makes two machines one, and the package of each backend.
_SAME = ('processor', 'instructions', 'cores')
_PACKAGES = {
    'pytorch': 'torch',
    'compile': 'torch',
    'onnxruntime': 'onnxruntime',
    'openvino': 'openvino',
    'litert': 'ai-edge-litert',
}
_REMEDY = 'tools/latency_table.py CONFIG measures the layers of a config'


@dataclass
class LatencyTable:
    """What layers cost.

    Args:
        backend: Name of :data:`mmnv3.deploy.runtime.BACKENDS`.
        threads: Threads of one call.
        machine: What :func:`mmnv3.benchmark.machine.describe_machine` returns.
        layers: Microseconds by layer, each alone.
        networks: Whole networks, by which the layers are added up.
        day: When it was measured, as 2026-01-31.
    """

    backend: str
    threads: int
    machine: Mapping[str, Any]
    layers: dict[LayerShape, float] = field(default_factory=dict)
    networks: list[NetworkTime] = field(default_factory=list)
    day: str = field(default_factory=lambda: date.today().isoformat())

    def __post_init__(self) -> None:
        self._laws: dict[LayerShape, Law] = {}
        self._estimates: dict[LayerShape, float] = {}
        self._guessed: set[str] = set()

    @classmethod
    def new(cls, backend: str, threads: int = 1) -> LatencyTable:
        """An empty table of this machine.

        Raises:
            UserError: When the backend is unknown, or there are no threads.
        """
        check_backend(backend)
        if threads < 1:
            raise UserError(f'--threads {threads} must be a positive number')
        return cls(backend, threads, describe_machine(threads))

    def __setitem__(self, layer: LayerShape, us: float) -> None:
        self.layers[layer] = us
        self._laws.pop(layer.group, None)
        self._estimates.clear()

    def alone(self, layers: Iterable[LayerShape]) -> float:
        """Microseconds that layers take when each runs alone; a rest takes none.

        Layers that were not measured are interpolated between others that differ in
        their widths only. Where those are wider or narrower, or there are too few, the
        price is a guess, and a warning says so, once for each kind of layer.

        Raises:
            UserError: When nothing like one of the layers was measured; names it.
        """
        counts = Counter(layer for layer in layers if layer.kind != REST)
        return sum(count * self._price(layer) for layer, count in counts.items())

    def price(self, layers: Iterable[LayerShape]) -> float:
        """Microseconds of layers that run one after the other.

        Args:
            layers: The layers. Each is priced as :meth:`alone` does, and all together
                as the networks of the table tell.

        Raises:
            UserError: As :meth:`alone`.
        """
        layers = list(layers)
        company = Company.fit(self.networks)
        rests = (
            _nearest_rest(layer, company.rests)
            for layer in layers
            if layer.kind == REST
        )
        return company.factor * self.alone(layers) + sum(rests)

    def price_model(self, module: nn.Module, size: tuple[int, int]) -> float:
        """Microseconds of a network for a picture.

        Args:
            module: A detector, segmenter or classifier of a toolbox, or any module
                that maps a picture to tensors.
            size: Pixels of the picture, (width, height).
        """
        return self.price(layers_of(module, size))

    def price_spec(
        self,
        spec: NetSpec,
        size: tuple[int, int],
        output_stride: int = 32,
        **options: Any,
    ) -> float:
        """Microseconds of a network that is not built, without its rest; quick.

        Args:
            spec: The network.
            size: Pixels of the picture, (width, height).
            output_stride: 32, 16 or 8.
            **options: ``classes`` and others of
                :func:`mmnv3.search.latency.layers.layers_of_spec`.
        """
        return self.price(layers_of_spec(spec, size, output_stride, **options))

    def _price(self, layer: LayerShape) -> float:
        if layer in self.layers:
            return self.layers[layer]
        if layer not in self._estimates:
            self._estimates[layer] = self._estimate(layer)
        return self._estimates[layer]

    def _estimate(self, layer: LayerShape) -> float:
        group = layer.group
        if group not in self._laws:
            prices = {
                other.widths: us
                for other, us in self.layers.items()
                if other.group == group
            }
            if len(prices) < 2:
                return self._nearest(layer)
            self._laws[group] = Law(layer.kind, prices)
        law = self._laws[group]
        if not law.covers(layer.widths):
            self._guess(layer, 'is wider or narrower than the layers of the table')
        return law(layer.widths)

    def _nearest(self, layer: LayerShape) -> float:
        """The price of the layer that is most alike, by the ratio of their work."""
        alike = [other for other in self.layers if other.kind == layer.kind]
        if not alike:
            raise UserError(f'the table has nothing like {layer}; {_REMEDY}')
        best = min(alike, key=lambda other: _unlike(layer, other))
        self._guess(layer, f'is priced by {best}')
        return self.layers[best] * _work(layer) / _work(best)

    def _guess(self, layer: LayerShape, why: str) -> None:
        if layer.kind not in self._guessed:
            self._guessed.add(layer.kind)
            _remark(
                f'{layer} {why}, and its price is a guess, like those of others of its '
                f'kind may be; {_REMEDY}'
            )

    def save(self, path: str | Path) -> None:
        """Writes the table; the file appears whole or not at all."""
        data = dict(
            format=FORMAT,
            backend=self.backend,
            threads=self.threads,
            day=self.day,
            machine=dict(self.machine),
            networks=[_row(network) for network in self.networks],
            layers=[
                {**layer.to_dict(), 'us': round(us, 3)}
                for layer, us in self.layers.items()
            ],
        )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        head = json.dumps({**data, 'layers': []}, indent=1)
        rows = ',\n  '.join(map(json.dumps, data['layers']))
        with whole_or_absent(path) as partial:
            partial.write_text(head[: -len(']\n}')] + f'\n  {rows}\n ]\n}}\n')

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Reads a table that :meth:`save` wrote.

        Of another machine, or of another version of the backend, a warning says so.

        Raises:
            UserError: When there is no such file, or it is not such a table.
        """
        table = cls._read(Path(path))
        here = describe_machine(table.threads)
        if not table.is_of(here):
            _remark(
                f'{path} was measured on another machine: {machine_line(table.machine)}'
                f'; this is {machine_line(here)}; measure it anew to price this one'
            )
        return table

    def is_of(self, machine: Mapping[str, Any]) -> bool:
        """Whether it was measured on a machine, with the same runtime."""
        package = _PACKAGES[self.backend]
        return all(self.machine.get(key) == machine.get(key) for key in _SAME) and (
            self.machine['packages'].get(package) == machine['packages'].get(package)
        )

    @classmethod
    def _read(cls, path: Path) -> LatencyTable:
        try:
            data = json.loads(path.read_text(encoding='utf-8'))
        except FileNotFoundError:
            raise UserError(f'{path}: there is no such table; {_REMEDY}') from None
        except (OSError, ValueError) as error:
            reason = str(error).partition('\n')[0]
            raise UserError(f'{path}: not a readable JSON file ({reason})') from None
        if not isinstance(data, dict) or data.get('format') != FORMAT:
            raise UserError(f'{path}: not a latency table, "format" is not {FORMAT!r}')
        try:
            check_backend(data['backend'])
            machine_line(data['machine'])
            return cls(
                data['backend'],
                data['threads'],
                data['machine'],
                dict(map(_layer, data['layers'])),
                list(map(_network, data['networks'])),
                data['day'],
            )
        except KeyError as error:
            raise UserError(f'{path}: it lacks the key {error}') from None
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(f'{path}: it is damaged ({error})') from None


def _layer(row: dict[str, Any]) -> tuple[LayerShape, float]:
    row = dict(row)
    us = row.pop('us')
    layer = LayerShape(**row)
    if (
        layer.kind not in KINDS
        or layer.kind == REST
        or isinstance(us, bool)
        or not isinstance(us, int | float)
    ):
        raise ValueError(f'{row} is no layer')
    return layer, float(us)


def _row(network: NetworkTime) -> dict[str, Any]:
    return dict(
        rest=network.rest.to_dict(),
        alone=round(network.alone, 3),
        together=round(network.together, 3),
    )


def _network(row: dict[str, Any]) -> NetworkTime:
    rest = LayerShape(**row['rest'])
    times = float(row['alone']), float(row['together'])
    if rest.kind != REST or min(times) <= 0:
        raise ValueError(f'{row} is no network')
    return NetworkTime(rest, *times)


def _nearest_rest(rest: LayerShape, rests: Mapping[LayerShape, float]) -> float:
    """Microseconds of the rest that is most alike, if any was measured."""

    def unlike(other: LayerShape) -> tuple[int, int]:
        pixels = rest.height * rest.width - other.height * other.width
        return abs(rest.out_channels - other.out_channels), abs(pixels)

    return rests[min(rests, key=unlike)] if rests else 0.0


def _work(layer: LayerShape) -> int:
    """Multiply-adds; of layers without any, the numbers that they read."""
    return layer.madds or layer.in_channels * layer.height * layer.width


def _unlike(layer: LayerShape, other: LayerShape) -> tuple[float, ...]:
    """How much two layers of one kind differ, the most important first."""
    differences = [
        getattr(layer, name) != getattr(other, name)
        for name in ('kernel', 'stride', 'act', 'residual', 'dilation', 'padding')
    ]
    ratio = _work(layer) / max(1, _work(other))
    return *map(float, differences), max(ratio, 1 / max(ratio, 1e-9))


def _remark(text: str) -> None:
    warnings.warn(Remark(text), stacklevel=3)
