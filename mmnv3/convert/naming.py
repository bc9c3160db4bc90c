"""What other projects call the layers of a backbone, by the rows of its table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mmnv3.arch import NetSpec, Network, list_layers

_NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


@dataclass(frozen=True)
class Part:
    """A convolution or linear layer, with its normalisation if it has one.

    Args:
        ours: Its name here, as ``'backbone.block3.expand'``. With normalisation the
            two are its ``conv`` and ``bn``.
        conv: The foreign name of the convolution.
        norm: The foreign name of its normalisation; None for a layer with bias.
        bias: Whether a foreign layer without normalisation has a bias; where it has
            none, ours is zero.
        folded: Whether the foreign layer's bias is all that is left of a normalisation
            that ours has.
    """

    ours: str
    conv: str
    norm: str | None = None
    bias: bool = True
    folded: bool = False

    def keys(self) -> Iterator[tuple[str, str]]:
        """Pairs of our and the foreign key of every tensor."""
        if self.norm:
            yield f'{self.ours}.conv.weight', f'{self.conv}.weight'
            for name in _NORM:
                yield f'{self.ours}.bn.{name}', f'{self.norm}.{name}'
        elif self.folded:
            yield f'{self.ours}.conv.weight', f'{self.conv}.weight'
            yield f'{self.ours}.bn.bias', f'{self.conv}.bias'
        else:
            yield f'{self.ours}.weight', f'{self.conv}.weight'
            if self.bias:
                yield f'{self.ours}.bias', f'{self.conv}.bias'


# A part's foreign names: of the convolution, and of its normalisation.
_Names = tuple[str, str | None]
Naming = Callable[[NetSpec, str], Iterator[Part]]


def _stages(spec: NetSpec) -> dict[str, list[str]]:
    """The modules of a backbone and the layers with weights in each.

    Returns:
        ``{'stem': [''], 'block1': ['depthwise', 'se.reduce', 'se.expand', 'project']}``
        and so on, in the order of computation.
    """
    stages: dict[str, list[str]] = {}
    for layer in list_layers(Network(spec)):
        for path in layer.weights():
            stage, _, part = path.partition('.')
            stages.setdefault(stage, []).append(part)
    return stages


def ours(spec: NetSpec, prefix: str = 'backbone.') -> Iterator[Part]:
    """Our own names."""
    for stage, layers in _stages(spec).items():
        for layer in layers:
            name = f'{prefix}{stage}.{layer}'.rstrip('.')
            yield _part(stage, layer, (name, None) if 'se.' in layer else _cbn(name))


def torchvision(spec: NetSpec, prefix: str = 'features.') -> Iterator[Part]:
    """Numbered stages, and numbers for what is in a block's ``nn.Sequential``."""
    for index, (stage, layers) in enumerate(_stages(spec).items()):
        for layer, names in zip(layers, _torchvision_block(layers)):
            yield _part(stage, layer, _prefixed(f'{prefix}{index}.', names))


def _torchvision_block(layers: list[str]) -> list[_Names]:
    if layers == ['']:
        return [('0', '1')]
    found: list[_Names] = []
    place = 0
    for layer in layers:
        if layer == 'se.expand':
            found.append((f'block.{place - 1}.fc2', None))
            continue
        conv = f'block.{place}'
        squeezes = layer == 'se.reduce'
        found.append((f'{conv}.fc1', None) if squeezes else (f'{conv}.0', f'{conv}.1'))
        place += 1
    return found


def torchvision_v2(spec: NetSpec, prefix: str = 'features.') -> Iterator[Part]:
    """Numbered stages, whose projections alone are no ``nn.Sequential``."""
    for index, (stage, layers) in enumerate(_stages(spec).items()):
        for place, layer in enumerate(layers):
            if layer == '':
                names: _Names = ('0', '1')
            elif layer == 'project':
                names = (f'conv.{place}', f'conv.{place + 1}')
            else:
                names = (f'conv.{place}.0', f'conv.{place}.1')
            yield _part(stage, layer, _prefixed(f'{prefix}{index}.', names))


def torchvision_mnasnet(spec: NetSpec, prefix: str = 'layers.') -> Iterator[Part]:
    """One ``nn.Sequential`` of stem, first block, groups of blocks and last layer.

    It counts activations as well; the first block's layers stand in it themselves.
    """
    groups = _groups(spec)
    after_groups = 8 + groups[-1][0]
    for stage, layers in _stages(spec).items():
        if stage == 'stem':
            start, name = 0, prefix
        elif stage == 'last':
            start, name = after_groups, prefix
        elif stage == 'block1':
            start, name = 3, prefix
        else:
            group, place = groups[int(stage.removeprefix('block')) - 1]
            start, name = 0, f'{prefix}{7 + group}.{place}.layers.'
        for layer in layers:
            names = (str(start), str(start + 1))
            yield _part(stage, layer, _prefixed(name, names))
            start += 3


def torchvision_ssdlite(spec: NetSpec, prefix: str = 'backbone.') -> Iterator[Part]:
    """The same in ``ssdlite320``, which cuts the C4 block behind its expansion."""
    cut = next(
        index
        for index, block in enumerate(spec.blocks, 1)
        if block.stride == 2
        and not any(later.stride == 2 for later in spec.blocks[index:])
    )
    for index, (stage, layers) in enumerate(_stages(spec).items()):
        for place, (layer, names) in enumerate(zip(layers, _torchvision_block(layers))):
            if index < cut:
                names = _prefixed(f'features.0.{index}.', names)
            elif index > cut:
                names = _prefixed(f'features.1.{index - cut}.', names)
            elif place == 0:
                names = (f'features.0.{index}.0', f'features.0.{index}.1')
            else:
                names = _prefixed('features.1.0.', _inside(names))
            yield _part(stage, layer, _prefixed(prefix, names))


def _inside(names: _Names) -> _Names:
    """Names in what is left of a block, whose layers keep their numbers."""
    conv, norm = names
    return conv.removeprefix('block.'), norm and norm.removeprefix('block.')


def timm(spec: NetSpec, prefix: str = '') -> Iterator[Part]:
    """Groups of blocks of one width, which only the first of them may change."""
    groups = _groups(spec)
    last = (f'blocks.{groups[-1][0] + 1}.0.conv', f'blocks.{groups[-1][0] + 1}.0.bn1')
    yield from _timm(spec, prefix, groups, last)


def timm_efficientnet(spec: NetSpec, prefix: str = '') -> Iterator[Part]:
    """The same in MobileNetV2 and MnasNet, whose groups have one kernel too."""
    groups = _groups(spec, by_kernel=True)
    yield from _timm(spec, prefix, groups, ('conv_head', 'bn2'))


def _timm(
    spec: NetSpec, prefix: str, groups: list[tuple[int, int]], last: _Names
) -> Iterator[Part]:
    table = {
        'expand': ('conv_pw', 'bn1'),
        'depthwise': ('conv_dw', 'bn2'),
        'se.reduce': ('se.conv_reduce', None),
        'se.expand': ('se.conv_expand', None),
        'project': ('conv_pwl', 'bn3'),
    }
    # A block without expansion is another class, which counts from there.
    separable = {
        **table,
        'depthwise': ('conv_dw', 'bn1'),
        'project': ('conv_pw', 'bn2'),
    }
    for stage, layers in _stages(spec).items():
        if stage == 'stem':
            yield _part(stage, '', _prefixed(prefix, ('conv_stem', 'bn1')))
        elif stage == 'last':
            yield _part(stage, '', _prefixed(prefix, last))
        else:
            group, place = groups[int(stage.removeprefix('block')) - 1]
            rows = table if 'expand' in layers else separable
            for layer in layers:
                names = _prefixed(f'{prefix}blocks.{group}.{place}.', rows[layer])
                yield _part(stage, layer, names)


def _groups(spec: NetSpec, by_kernel: bool = False) -> list[tuple[int, int]]:
    """Group and place of every block: a group begins where none could add its input.

    Args:
        spec: The network.
        by_kernel: Whether one begins with another kernel, too.
    """
    found = [(0, 0)]
    for before, block in zip(spec.blocks, spec.blocks[1:]):
        group, place = found[-1]
        begins = block.stride > 1 or block.out != before.out
        if begins or (by_kernel and block.kernel != before.kernel):
            found.append((group + 1, 0))
        else:
            found.append((group, place + 1))
    return found


def openmmlab(spec: NetSpec, prefix: str = 'backbone.') -> Iterator[Part]:
    """Numbered layers, as mmpretrain and mmseg have them."""
    table = {
        'expand': 'expand_conv',
        'depthwise': 'depthwise_conv',
        'se.reduce': 'se.conv1.conv',
        'se.expand': 'se.conv2.conv',
        'project': 'linear_conv',
    }
    for index, (stage, layers) in enumerate(_stages(spec).items()):
        for layer in layers:
            name = f'{prefix}layer{index}.{table.get(layer, "")}'.rstrip('.')
            yield _part(stage, layer, (name, None) if 'se.' in layer else _cbn(name))


def tensorflow(spec: NetSpec, prefix: str = 'MobilenetV3/') -> Iterator[Part]:
    """Scopes of slim, as :func:`mmnv3.convert.tensorflow.from_variables` has them."""
    table = {'se.reduce': 'squeeze_excite/Conv', 'se.expand': 'squeeze_excite/Conv_1'}
    for index, (stage, layers) in enumerate(_stages(spec).items()):
        block = 'expanded_conv' + (f'_{index - 1}' if index > 1 else '')
        scopes = {'stem': 'Conv', 'last': 'Conv_1'}
        for layer in layers:
            name = prefix + scopes.get(stage, f'{block}/{table.get(layer, layer)}')
            norm = None if 'se.' in layer else f'{name}/BatchNorm'
            yield _part(stage, layer, (name, norm))


def tflite(spec: NetSpec, prefix: str = '') -> Iterator[Part]:
    """Numbers in the order of computation, the classifier's head included."""
    backbone = list(tflite_backbone(spec, prefix))
    yield from backbone
    heads = ('head.hidden', 'head.fc')[0 if spec.head else 1 :]
    for number, name in enumerate(heads, len(backbone)):
        yield Part(name, f'{prefix}{number}')


def tflite_backbone(spec: NetSpec, prefix: str = '') -> Iterator[Part]:
    """Numbers in the order of computation."""
    number = 0
    for stage, layers in _stages(spec).items():
        for layer in layers:
            name = f'backbone.{stage}.{layer}'.rstrip('.')
            yield Part(name, f'{prefix}{number}', folded='se.' not in layer)
            number += 1


def _part(stage: str, layer: str, names: _Names) -> Part:
    return Part(f'backbone.{stage}.{layer}'.rstrip('.'), *names)


def _cbn(name: str) -> _Names:
    return f'{name}.conv', f'{name}.bn'


def _prefixed(prefix: str, names: _Names) -> _Names:
    return prefix + names[0], names[1] and prefix + names[1]
