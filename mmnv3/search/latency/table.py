"""Prices of layers and networks, measured on one machine through one backend."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path
from scipy.optimize import nnls

from mmnv3.arch import check_choice, check_count
from mmnv3.arch.layers import CONV, LINEAR, SQUEEZE_EXCITE, Layer
from mmnv3.benchmark.machine import describe_machine, machine_line
from mmnv3.deploy.cache import hash_of
from mmnv3.deploy.info import PRECISIONS
from mmnv3.deploy.runtime import BACKENDS, check_backend
from mmnv3.errors import Remark, UserError
from mmnv3.files import whole_or_absent
from mmnv3.json_files import read_json
from mmnv3.size import Size

FORMAT = 'mmnv3-latency-2'
# The kind of an overhead in a table's file.
_REST = 'rest'
# What makes two machines one, and the package of each backend.
_SAME = ('processor', 'instructions', 'cores')
_PACKAGES = {
    'pytorch': 'torch',
    'compile': 'torch',
    'onnxruntime': 'onnxruntime',
    'openvino': 'openvino',
    'litert': 'ai-edge-litert',
    'executorch': 'executorch',
}
_REMEDY = 'python -m mmnv3 latency_table CONFIG measures the layers of a config'
# Numbers that a processor's instruction takes at once: kernels do whole vectors, and
# so 24 channels take as long as 32.
_VECTOR = 16
# How strongly a factor of 1 is believed in, beside one network's relative error. Of a
# single network everything that its layers do not explain is then its overhead; a few
# of different widths overrule it.
_BELIEF = 0.05
# Microseconds that two sums of the same prices may differ by once they were written.
_ROUNDING_US = 0.05


@dataclass(frozen=True)
class Execution:
    """How the networks are run that a table prices.

    Args:
        backend: Name of :data:`mmnv3.deploy.runtime.BACKENDS`.
        threads: Threads of one call.
        precision: One of :data:`mmnv3.deploy.info.PRECISIONS` that the backend has.

    Raises:
        UserError: When one of them is impossible, and for 8 bits by ONNX Runtime, where
            a layer's depend on how deep in its network it stands.
    """

    backend: str = 'onnxruntime'
    threads: int = 1
    precision: str = 'fp32'

    def __post_init__(self) -> None:
        check_backend(self.backend, self.precision)
        if self.threads < 1:
            raise UserError(f'--threads {self.threads} must be a positive number')
        if (self.backend, self.precision) == ('onnxruntime', 'int8'):
            raise UserError(
                'onnxruntime files have 8 bits from stride 16 on, which a layer alone '
                'does not tell; take --backend openvino for --precision int8'
            )

    def __str__(self) -> str:
        precision = '' if self.precision == 'fp32' else f' {self.precision}'
        threads = f'{self.threads} thread{"s" * (self.threads > 1)}'
        return f'{self.backend}{precision} with {threads}'


def _what_decides(backend: str, machine: Mapping[str, Any]) -> list[Any]:
    """What the times of a backend depend on."""
    packages = machine['packages']
    return [*(machine.get(key) for key in _SAME), packages.get(_PACKAGES[backend])]


@dataclass(frozen=True)
class Overhead:
    """What a network does beside its layers: the call itself, boxes, resized maps.

    Args:
        operations: How many operations it is.
        written: Numbers that they write.
        size: Pixels of the picture.
    """

    operations: int
    written: int
    size: Size

    def to_dict(self) -> dict[str, Any]:
        """A row of a table's file, where it stands as a layer of a kind of its own."""
        return dict(
            kind=_REST,
            in_channels=self.operations,
            out_channels=self.written,
            height=self.size.height,
            width=self.size.width,
        )

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Overhead:
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: For another kind of row.
            KeyError: For one that lacks a key.
        """
        if not isinstance(row, Mapping) or row.get('kind') != _REST:
            raise UserError(f'{row!r} is no overhead')
        size = Size.of((row.get('width', 1), row.get('height', 1)))
        numbers = row['in_channels'], row['out_channels']
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise UserError(f'{row!r} is no overhead')
        return cls(*numbers, size)


@dataclass(frozen=True)
class NetworkTime:
    """A network that was timed as a whole.

    Args:
        overhead: What it does beside its layers.
        layers_us: Microseconds of its layers, each timed alone.
        whole_us: Microseconds of the network.
        digest: What :func:`digest_network` says, which tells it from others that do
            the same beside their layers; empty in tables that did not keep it.
    """

    overhead: Overhead
    layers_us: float
    whole_us: float
    digest: str = ''

    def to_dict(self) -> dict[str, Any]:
        """A row of a table's file."""
        return dict(
            rest=self.overhead.to_dict(),
            alone=round(self.layers_us, 3),
            together=round(self.whole_us, 3),
            **(dict(digest=self.digest) if self.digest else {}),
        )

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> NetworkTime:
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: For a row that says something else.
            KeyError: For one that lacks a key.
        """
        overhead = Overhead.from_dict(row['rest'])
        digest = row.get('digest', '')
        if not isinstance(digest, str):
            raise UserError(f'digest={digest!r} is no text')
        return cls(overhead, _number(row, 'alone'), _number(row, 'together'), digest)


def digest_network(layers: Iterable[Layer], overhead: Overhead) -> str:
    """A few letters that tell a network from every other one."""
    rows = [*(layer.to_dict() for layer in layers), overhead.to_dict()]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class NetworkFit:
    """How the layers of a network cost more, or less, than alone.

    Alone a layer finds its input where copies of it just read it, and its weights
    nearer than in a network, whose other layers pass through the same caches. That is
    much alike for all layers, while boxes, probabilities and the call itself cost the
    same whatever the widths are: ``factor * layers + overhead``.

    Args:
        factor: Of what layers cost alone.
        overheads_us: Microseconds of each overhead.
    """

    factor: float
    overheads_us: Mapping[Overhead, float]

    def latency_us(self, layers_us: float, overhead: Overhead | None = None) -> float:
        """Microseconds of a network.

        Args:
            layers_us: Microseconds of its layers, each alone.
            overhead: What it does beside them; the one that is most alike counts.
        """
        if overhead is None or not self.overheads_us:
            return self.factor * layers_us

        def unlike(other: Overhead) -> tuple[int, int]:
            pixels = math.prod(overhead.size) - math.prod(other.size)
            return abs(overhead.written - other.written), abs(pixels)

        nearest = min(self.overheads_us, key=unlike)
        return self.factor * layers_us + self.overheads_us[nearest]


@lru_cache
def fit_networks(networks: tuple[NetworkTime, ...]) -> NetworkFit:
    """Finds the least relative errors; without networks, the sum of the layers."""
    overheads = list(dict.fromkeys(network.overhead for network in networks))
    rows = [[_BELIEF] + [0.0] * len(overheads)]
    wanted = [_BELIEF]
    for network in networks:
        shares = [float(network.overhead == overhead) for overhead in overheads]
        terms = np.array([network.layers_us, *shares])
        rows.append(list(terms / network.whole_us))
        wanted.append(1.0)
    factor, *found = map(float, nnls(np.array(rows), np.array(wanted))[0])
    return NetworkFit(factor, dict(zip(overheads, found)))


class Interpolation:
    """What a layer costs by its widths, as measured layers of one group say.

    A sum of what any layer costs, of each width, and of their product, each also in
    whole vectors, is fitted to the relative errors with factors of at least zero. What
    a measured layer costs more or less than that is then spread over its neighbours,
    by the fourth power of their distance in powers of two.

    Args:
        kind: Kind of the layers.
        prices_us: Microseconds by widths, as :attr:`mmnv3.arch.layers.Layer.widths`
            has them.
    """

    def __init__(self, kind: str, prices_us: Mapping[tuple[int, ...], float]) -> None:
        self.kind = kind
        us = np.maximum(np.array(list(prices_us.values()), float), 1e-3)
        terms = np.array([list(_terms(kind, widths)) for widths in prices_us])
        self._factors, _ = nnls(terms / us[:, None], np.ones(len(us)))
        self._points = np.log2(list(prices_us))
        self._ratios = np.log(us / (terms @ self._factors))
        self._least = np.min(list(prices_us), axis=0)
        self._most = np.max(list(prices_us), axis=0)

    def covers(self, widths: tuple[int, ...]) -> bool:
        """Whether no width is beyond those that were measured."""
        return bool(np.all((self._least <= widths) & (widths <= self._most)))

    def latency_us(self, widths: tuple[int, ...]) -> float:
        """Microseconds of a layer that was not measured."""
        fitted = float(np.dot(list(_terms(self.kind, widths)), self._factors))
        distances = np.sum((self._points - np.log2(widths)) ** 2, axis=1)
        weights = 1 / np.maximum(distances, 1e-9) ** 2
        return fitted * math.exp(float(weights @ self._ratios / weights.sum()))


def _terms(kind: str, widths: tuple[int, ...]) -> Iterator[float]:
    """What a price is a sum of."""
    vectors = [-(-width // _VECTOR) * _VECTOR for width in widths]
    yield 1.0
    yield from widths
    yield from vectors
    if kind in (CONV, LINEAR, SQUEEZE_EXCITE):
        yield math.prod(widths)
        yield widths[0] * vectors[1]
        yield math.prod(vectors)


@dataclass
class LatencyTable:
    """What layers cost.

    Args:
        execution: How they were run.
        machine: What :func:`mmnv3.benchmark.machine.describe_machine` returns.
        layers: Microseconds by layer, each alone.
        networks: Whole networks, by which the layers are added up.
        day: When it was measured, as 2026-01-31.
    """

    execution: Execution
    machine: dict[str, Any]
    layers: dict[Layer, float] = field(default_factory=dict)
    networks: list[NetworkTime] = field(default_factory=list)
    day: str = field(default_factory=lambda: date.today().isoformat())

    def __post_init__(self) -> None:
        self._groups: dict[Layer, dict[tuple[int, ...], float]] = {}
        self._interpolations: dict[Layer, Interpolation] = {}
        self._estimates_us: dict[Layer, float] = {}
        self._guessed: set[str] = set()

    @classmethod
    def new(cls, execution: Execution) -> LatencyTable:
        """An empty table of this machine."""
        return cls(execution, describe_machine(execution.threads))

    def __setitem__(self, layer: Layer, us: float) -> None:
        self.layers[layer] = us
        for found in (self._groups, self._interpolations, self._estimates_us):
            found.clear()

    def add(self, newer: LatencyTable) -> None:
        """Takes over what another process has measured meanwhile.

        Args:
            newer: The same file's table, read again.
        """
        for layer, us in newer.layers.items():
            self[layer] = us
        self.networks = newer.networks

    def layers_us(self, layers: Iterable[Layer]) -> float:
        """Microseconds that layers take when each runs alone.

        Layers that were not measured are interpolated between others that differ in
        their widths only. Where those are wider or narrower, or there are too few, the
        price is a guess, and a warning says so, once for each kind of layer.

        Raises:
            UserError: When nothing like one of the layers was measured; names it.
        """
        return sum(map(self._layer_us, layers))

    def latency_us(
        self, layers: Iterable[Layer], overhead: Overhead | None = None
    ) -> float:
        """Microseconds of a network, or of a part of one.

        Args:
            layers: What it runs one after the other, each priced as :meth:`layers_us`
                does, and all together as the networks of the table tell.
            overhead: What it does beside them; None for nothing.

        Raises:
            UserError: As :meth:`layers_us`.
        """
        return self.fit.latency_us(self.layers_us(layers), overhead)

    @property
    def fit(self) -> NetworkFit:
        """How layers add up, by the networks of the table."""
        return fit_networks(tuple(self.networks))

    def find_network(
        self, layers: Sequence[Layer], overhead: Overhead
    ) -> NetworkTime | None:
        """The time of a network, if the table has it.

        Args:
            layers: Its layers.
            overhead: What it does beside them.
        """
        digest = digest_network(layers, overhead)
        for network in self.networks:
            if network.digest == digest:
                return network
        # Older tables tell networks by what their layers cost.
        older = [
            network
            for network in self.networks
            if not network.digest and network.overhead == overhead
        ]
        layers_us = self.layers_us(layers) if older else 0.0
        for network in older:
            if abs(network.layers_us - layers_us) < _ROUNDING_US:
                return network
        return None

    def _layer_us(self, layer: Layer) -> float:
        us = self.layers.get(layer)
        if us is None:
            us = self._estimates_us.get(layer)
        if us is None:
            us = self._estimates_us[layer] = self._estimate_us(layer)
        return us

    def _estimate_us(self, layer: Layer) -> float:
        interpolation = self._interpolation(layer.group)
        if not interpolation:
            return self._nearest_us(layer)
        if not interpolation.covers(layer.widths):
            self._guess(layer, 'is wider or narrower than the layers of the table')
        return interpolation.latency_us(layer.widths)

    def _interpolation(self, group: Layer) -> Interpolation | None:
        """Between the layers of a group, if there are at least two."""
        if not self._groups:
            groups: dict[Layer, dict[tuple[int, ...], float]] = defaultdict(dict)
            for layer, us in self.layers.items():
                groups[layer.group][layer.widths] = us
            self._groups = dict(groups)
        if group not in self._interpolations:
            prices_us = self._groups.get(group, {})
            if len(prices_us) < 2:
                return None
            self._interpolations[group] = Interpolation(group.kind, prices_us)
        return self._interpolations[group]

    def _nearest_us(self, layer: Layer) -> float:
        """The price of the layer that is most alike, by the ratio of their work."""
        alike = [other for other in self.layers if other.kind == layer.kind]
        if not alike:
            raise UserError(f'the table has nothing like {layer}; {_REMEDY}')
        best = min(alike, key=lambda other: _unlike(layer, other))
        self._guess(layer, f'is priced by {best}')
        return self.layers[best] * _work(layer) / _work(best)

    def _guess(self, layer: Layer, why: str) -> None:
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
            **asdict(self.execution),
            day=self.day,
            machine=self.machine,
            networks=[network.to_dict() for network in self.networks],
            layers=[],
        )
        head = json.dumps(data, indent=1)
        rows = ',\n  '.join(
            json.dumps({**layer.to_dict(), 'us': round(us, 3)})
            for layer, us in self.layers.items()
        )
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
        here = describe_machine(table.execution.threads)
        if not table.is_of(here):
            _remark(
                f'{path} was measured on another machine: {machine_line(table.machine)}'
                f'; this is {machine_line(here)}; measure it anew to price this one'
            )
        return table

    def is_of(self, machine: Mapping[str, Any]) -> bool:
        """Whether it was measured on a machine, with the same runtime."""
        backend = self.execution.backend
        return _what_decides(backend, self.machine) == _what_decides(backend, machine)

    def kept_path(self) -> Path:
        """Where this machine's table of an execution is kept for all searches.

        It is in the user's cache folder, whose place ``XDG_CACHE_HOME`` moves. Another
        version of the runtime has another.
        """
        run = self.execution
        key = hash_of([run.threads, _what_decides(run.backend, self.machine)])
        name = run.backend + f'-{run.precision}' * (run.precision != 'fp32')
        return user_cache_path('mmnv3') / 'latency' / f'{name}-{key}.json'

    @classmethod
    def _read(cls, path: Path) -> LatencyTable:
        try:
            data = read_json(path)
        except FileNotFoundError:
            raise UserError(f'{path}: there is no such table; {_REMEDY}') from None
        if not isinstance(data, dict) or data.get('format') != FORMAT:
            raise UserError(f'{path}: not a latency table, "format" is not {FORMAT!r}')
        try:
            check_choice('backend', data['backend'], BACKENDS)
            check_choice('precision', data.get('precision', 'fp32'), PRECISIONS)
            check_count('threads', data['threads'])
            machine_line(data['machine'])
            layers = dict(map(_read_layer, data['layers']))
            networks = list(map(NetworkTime.from_dict, data['networks']))
            table = cls(
                # Older ones tell no precision.
                Execution(
                    data['backend'], data['threads'], data.get('precision', 'fp32')
                ),
                data['machine'],
                {layer: us for layer, us in layers.items() if _is_time(us)},
                [
                    network
                    for network in networks
                    if _is_time(network.layers_us) and _is_time(network.whole_us)
                ],
                str(data['day']),
            )
        except KeyError as error:
            raise UserError(f'{path}: it lacks the key {error}') from None
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f'{path}: it is damaged ({error})') from None
        lost = len(layers) - len(table.layers), len(networks) - len(table.networks)
        if any(lost):
            _remark(
                f'{path}: {lost[0]} layers and {lost[1]} networks have times that are '
                f'not above 0, and count as not measured; {_REMEDY} anew'
            )
        return table


def _read_layer(row: Mapping[str, Any]) -> tuple[Layer, float]:
    us = _number(row, 'us')
    layer = Layer.from_dict({key: row[key] for key in row if key != 'us'})
    return layer, us


def _number(row: Mapping[str, Any], key: str) -> float:
    if type(row[key]) not in (int, float):
        raise UserError(f'{key}={row[key]!r} is no number')
    return float(row[key])


def _is_time(us: float) -> bool:
    return 0 < us < math.inf


def _work(layer: Layer) -> int:
    """Multiply-adds; of layers without any, the numbers that they read."""
    return layer.madds or layer.in_channels * layer.height * layer.width


def _unlike(layer: Layer, other: Layer) -> tuple[float, ...]:
    """How much two layers of one kind differ, the most important first."""
    differences = [
        getattr(layer, name) != getattr(other, name)
        for name in ('kernel', 'stride', 'act', 'residual', 'dilation', 'padding')
    ]
    ratio = _work(layer) / max(1, _work(other))
    return *map(float, differences), max(ratio, 1 / max(ratio, 1e-9))


def _remark(text: str) -> None:
    warnings.warn(Remark(text), stacklevel=3)
