"""Networks that several tests use."""

from dataclasses import replace

from mmnv3.arch import ZOO, NetSpec


def edited_small() -> NetSpec:
    """MobileNetV3-Small as NetAdapt leaves it: a few widths are cut."""
    outs = [16, 24, 24, 32, 32, 32, 40, 40, 88, 88, 88]
    expands = {2: 56, 9: 264}
    small = ZOO['small']
    return replace(
        small,
        name='cut',
        blocks=tuple(
            replace(block, expand=expands.get(number, block.expand), out=out)
            for number, (block, out) in enumerate(zip(small.blocks, outs), 1)
        ),
        last=replace(small.last, out=528),
    )
