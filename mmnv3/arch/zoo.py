"""The networks of the paper's tables, as tables, and how one is found by its name."""

from __future__ import annotations

import os
from dataclasses import replace

from mmnv3.arch.io import load_spec
from mmnv3.arch.scale import scale_width, set_gate
from mmnv3.arch.spec import BlockSpec, ConvSpec, NetSpec, SqueezeExcite
from mmnv3.arch.tails import apply_tail
from mmnv3.errors import UserError

_SE = SqueezeExcite()
_MNAS_SE = SqueezeExcite(of='input', divisor=1, gate='sigmoid')


def _v3(name: str, rows: tuple[tuple, ...], last: int, head: int) -> NetSpec:
    """Reads rows of the paper's Tables 1 and 2: kernel, exp, out, SE, NL, stride."""
    act = {'RE': 'relu', 'HS': 'hswish'}
    return NetSpec(
        name=name,
        stem=ConvSpec(16, kernel=3, stride=2),
        blocks=tuple(
            BlockSpec(k, exp, out, s, act[nl], _SE if se else None)
            for k, exp, out, se, nl, s in rows
        ),
        last=ConvSpec(last),
        head=ConvSpec(head, scaled='never'),
    )


def _minimalistic(spec: NetSpec) -> NetSpec:
    """Removes SE, h-swish and 5×5 kernels (slim's V3_*_MINIMALISTIC)."""
    return replace(
        spec,
        name=f'{spec.name}_minimalistic',
        stem=replace(spec.stem, act='relu'),
        blocks=tuple(
            replace(block, kernel=3, act='relu', se=None) for block in spec.blocks
        ),
        last=spec.last and replace(spec.last, act='relu'),
        head=spec.head and replace(spec.head, act='relu'),
    )


def _stages(rows: tuple[tuple, ...], stem: int, act: str) -> tuple[BlockSpec, ...]:
    """Unrolls stages: repeats, kernel, stride, expansion ratio, out, SE."""
    channels, blocks = stem, []
    for repeats, kernel, stride, ratio, out, se in rows:
        for index in range(repeats):
            blocks.append(
                BlockSpec(
                    kernel,
                    channels * ratio,
                    out,
                    1 if index else stride,
                    act,
                    _MNAS_SE if se else None,
                )
            )
            channels = out
    return tuple(blocks)


# fmt: off
# Paper, Table 1.
LARGE = _v3('large', (
    # k  exp  out  SE  NL   s
    (3,  16,  16, 0, 'RE', 1),
    (3,  64,  24, 0, 'RE', 2),
    (3,  72,  24, 0, 'RE', 1),
    (5,  72,  40, 1, 'RE', 2),
    (5, 120,  40, 1, 'RE', 1),
    (5, 120,  40, 1, 'RE', 1),
    (3, 240,  80, 0, 'HS', 2),
    (3, 200,  80, 0, 'HS', 1),
    (3, 184,  80, 0, 'HS', 1),
    (3, 184,  80, 0, 'HS', 1),
    (3, 480, 112, 1, 'HS', 1),
    (3, 672, 112, 1, 'HS', 1),
    (5, 672, 160, 1, 'HS', 2),
    (5, 960, 160, 1, 'HS', 1),
    (5, 960, 160, 1, 'HS', 1),
), last=960, head=1280)

# Paper, Table 2. Its tick for SE at the last 1×1 is a misprint: no implementation has
# it, and with it the parameters would not be 2.5 M.
SMALL = _v3('small', (
    # k  exp out  SE  NL   s
    (3,  16, 16, 1, 'RE', 2),
    (3,  72, 24, 0, 'RE', 2),
    (3,  88, 24, 0, 'RE', 1),
    (5,  96, 40, 1, 'HS', 2),
    (5, 240, 40, 1, 'HS', 1),
    (5, 240, 40, 1, 'HS', 1),
    (5, 120, 48, 1, 'HS', 1),
    (5, 144, 48, 1, 'HS', 1),
    (5, 288, 96, 1, 'HS', 2),
    (5, 576, 96, 1, 'HS', 1),
    (5, 576, 96, 1, 'HS', 1),
), last=576, head=1024)

# slim V3_EDGETPU: kernel, ratio, out, stride, fused, residual.
_EDGETPU_ROWS = (
    (3, 1,  16, 1, True, True),
    (3, 8,  32, 2, True, True),
    *((3, 4,  32, 1, True, True),) * 3,
    (3, 8,  48, 2, True, True),
    *((3, 4,  48, 1, True, True),) * 3,
    (3, 8,  96, 2, False, True),
    *((3, 4,  96, 1, False, True),) * 3,
    (3, 8,  96, 1, False, False),
    *((3, 4,  96, 1, False, True),) * 3,
    (5, 8, 160, 2, False, True),
    *((5, 4, 160, 1, False, True),) * 3,
    (3, 8, 192, 1, False, True),
)

# fmt: on


def _edgetpu() -> NetSpec:
    channels, blocks = 32, []
    for kernel, ratio, out, stride, fused, residual in _EDGETPU_ROWS:
        blocks.append(
            BlockSpec(
                kernel, channels * ratio, out, stride, fused=fused, residual=residual
            )
        )
        channels = out
    return NetSpec(
        'edgetpu',
        ConvSpec(32, kernel=3, stride=2, act='relu'),
        tuple(blocks),
        last=ConvSpec(1280, act='relu', scaled='never'),
    )


# fmt: off
# MobileNetV2, Table 2 of arXiv 1801.04381.
V2 = NetSpec(
    'v2',
    ConvSpec(32, kernel=3, stride=2, act='relu6'),
    _stages((
        (1, 3, 1, 1,  16, 0),
        (2, 3, 2, 6,  24, 0),
        (3, 3, 2, 6,  32, 0),
        (4, 3, 2, 6,  64, 0),
        (3, 3, 1, 6,  96, 0),
        (3, 3, 2, 6, 160, 0),
        (1, 3, 1, 6, 320, 0),
    ), stem=32, act='relu6'),
    last=ConvSpec(1280, act='relu6', scaled='up'),
)

# MobileNetV1, Table 1 of arXiv 1704.04861: depthwise, then 1×1 with activation.
_V1_ROWS = (
    # out  s
    (  64, 1), ( 128, 2), ( 128, 1), ( 256, 2), ( 256, 1), ( 512, 2),
    *((512, 1),) * 5,
    (1024, 2), (1024, 1),
)
V1 = NetSpec(
    'v1',
    ConvSpec(32, kernel=3, stride=2, act='relu6'),
    tuple(
        BlockSpec(3, before, out, s, 'relu6', residual=False, project_act='relu6')
        for before, (out, s) in zip((32, *(o for o, _ in _V1_ROWS)), _V1_ROWS)
    ),
)

# MnasNet-A1, B1 without squeeze-and-excite, and their small sibling (tensorflow/tpu
# models/official/mnasnet).
MNASNET_A1 = NetSpec(
    'mnasnet_a1',
    ConvSpec(32, kernel=3, stride=2, act='relu'),
    _stages((
        (1, 3, 1, 1,  16, 0),
        (2, 3, 2, 6,  24, 0),
        (3, 5, 2, 3,  40, 1),
        (4, 3, 2, 6,  80, 0),
        (2, 3, 1, 6, 112, 1),
        (3, 5, 2, 6, 160, 1),
        (1, 3, 1, 6, 320, 0),
    ), stem=32, act='relu'),
    last=ConvSpec(1280, act='relu', scaled='up'),
)
MNASNET_B1 = NetSpec(
    'mnasnet_b1',
    ConvSpec(32, kernel=3, stride=2, act='relu'),
    _stages((
        (1, 3, 1, 1,  16, 0),
        (3, 3, 2, 3,  24, 0),
        (3, 5, 2, 3,  40, 0),
        (3, 5, 2, 6,  80, 0),
        (2, 3, 1, 6,  96, 0),
        (4, 5, 2, 6, 192, 0),
        (1, 3, 1, 6, 320, 0),
    ), stem=32, act='relu'),
    last=ConvSpec(1280, act='relu', scaled='never'),
)
MNASNET_SMALL = NetSpec(
    'mnasnet_small',
    ConvSpec(8, kernel=3, stride=2, act='relu'),
    _stages((
        (1, 3, 1, 1,   8, 0),
        (1, 3, 2, 3,  16, 0),
        (2, 3, 2, 6,  16, 0),
        (4, 5, 2, 6,  32, 1),
        (3, 3, 1, 6,  32, 1),
        (3, 5, 2, 6,  88, 1),
        (1, 3, 1, 6, 144, 0),
    ), stem=8, act='relu'),
    last=ConvSpec(1280, act='relu', scaled='up'),
)
# fmt: on

ZOO: dict[str, NetSpec] = {
    spec.name: spec
    for spec in (
        LARGE,
        SMALL,
        _minimalistic(LARGE),
        _minimalistic(SMALL),
        _edgetpu(),
        V2,
        V1,
        MNASNET_A1,
        MNASNET_B1,
        MNASNET_SMALL,
    )
}


def get_spec(
    arch: str | os.PathLike[str] | NetSpec = 'large',
    width: float = 1.0,
    tail: str | None = None,
    gate: str | None = None,
) -> NetSpec:
    """Finds a network and edits it: first the task's tail, then width and gates.

    Args:
        arch: A name of :data:`ZOO`, the path of a ``.json`` specification, or a
            specification.
        width: Width multiplier.
        tail: ``'detection'``, ``'segmentation'`` or None.
        gate: Of every squeeze-and-excite, one of :data:`mmnv3.arch.spec.GATES`; None
            leaves the network's own.

    Raises:
        UserError: For an unknown name, an impossible width, tail or gate; lists what is
            possible.
    """
    if isinstance(arch, NetSpec):
        spec = arch
    elif isinstance(arch, str | os.PathLike) and str(arch).endswith('.json'):
        spec = load_spec(arch)
    elif isinstance(arch, str) and arch in ZOO:
        spec = ZOO[arch]
    else:
        raise UserError(
            f'arch={arch!r} is unknown; possible: {", ".join(ZOO)}, or the path of '
            'a .json specification'
        )
    return set_gate(scale_width(apply_tail(spec, tail), width), gate)
