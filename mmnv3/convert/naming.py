"""What other projects call the layers of a backbone, by the rows of its table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mmnv3.arch import ZOO, NetSpec
from mmnv3.convert.parts import Part, list_layers

# A part's foreign names: of the convolution, and of its normalisation.
_Names = tuple[str, str | None]
Naming = Callable[[NetSpec, str], Iterator[Part]]


def ours(spec: NetSpec, prefix: str = 'backbone.') -> Iterator[Part]:
    """Our own names."""
    for stage, layers in list_layers(spec):
        for layer in layers:
            name = f'{prefix}{stage}.{layer}'.rstrip('.')
            yield _part(stage, layer, (name, None) if 'se.' in layer else _cbn(name))


def torchvision(spec: NetSpec, prefix: str = 'features.') -> Iterator[Part]:
    """Numbered stages, and numbers for what is in a block's ``nn.Sequential``."""
    for index, (stage, layers) in enumerate(list_layers(spec)):
        for layer, names in zip(layers, _torchvision_block(layers)):
            yield _part(stage, layer, _prefixed(f'{prefix}{index}.', names))


def _torchvision_block(layers: tuple[str, ...]) -> list[_Names]:
    if layers == ('',):
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


def torchvision_ssdlite(spec: NetSpec, prefix: str = 'backbone.') -> Iterator[Part]:
    """The same in ``ssdlite320``, which cuts the C4 block behind its expansion."""
    stages = list_layers(spec)
    cut = next(
        index
        for index, block in enumerate(spec.blocks, 1)
        if block.stride == 2
        and not any(later.stride == 2 for later in spec.blocks[index:])
    )
    for index, (stage, layers) in enumerate(stages):
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
    """Groups of blocks by the output width of the unscaled network."""
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
    groups = _timm_groups(spec)
    for stage, layers in list_layers(spec):
        if stage == 'stem':
            yield _part(stage, '', _prefixed(prefix, ('conv_stem', 'bn1')))
        elif stage == 'last':
            names = _prefixed(f'{prefix}blocks.{groups[-1][0] + 1}.0.', ('conv', 'bn1'))
            yield _part(stage, '', names)
        else:
            group, place = groups[int(stage.removeprefix('block')) - 1]
            rows = table if 'expand' in layers else separable
            for layer in layers:
                names = _prefixed(f'{prefix}blocks.{group}.{place}.', rows[layer])
                yield _part(stage, layer, names)


def _timm_groups(spec: NetSpec) -> list[tuple[int, int]]:
    """Group and place of every block."""
    name = max((n for n in ZOO if spec.name.startswith(n)), key=len)
    found: list[tuple[int, int]] = []
    before = None
    for block in ZOO[name].blocks:
        if block.out != before:
            found.append((found[-1][0] + 1 if found else 0, 0))
        else:
            found.append((found[-1][0], found[-1][1] + 1))
        before = block.out
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
    for index, (stage, layers) in enumerate(list_layers(spec)):
        for layer in layers:
            name = f'{prefix}layer{index}.{table.get(layer, "")}'.rstrip('.')
            yield _part(stage, layer, (name, None) if 'se.' in layer else _cbn(name))


def tflite(spec: NetSpec, prefix: str = '') -> Iterator[Part]:
    """Numbers in the order of computation, the classifier's head included."""
    number = 0
    for stage, layers in list_layers(spec):
        for layer in layers:
            name = f'backbone.{stage}.{layer}'.rstrip('.')
            yield Part(name, f'{prefix}{number}', folded='se.' not in layer)
            number += 1
    for name in ('head.hidden', 'head.fc')[0 if spec.head else 1 :]:
        yield Part(name, f'{prefix}{number}')
        number += 1


def _part(stage: str, layer: str, names: _Names) -> Part:
    return Part(f'backbone.{stage}.{layer}'.rstrip('.'), *names)


def _cbn(name: str) -> _Names:
    return f'{name}.conv', f'{name}.bn'


def _prefixed(prefix: str, names: _Names) -> _Names:
    return prefix + names[0], names[1] and prefix + names[1]
