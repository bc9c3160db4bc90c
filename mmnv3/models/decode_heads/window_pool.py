"""The average pooling of (LR-)ASPP: over windows, or over everything."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

_Pair = tuple[int, int]

# Figure 10, in pixels: a kernel of the whole 769 pixel training crop, and strides of
# 16 and 20 cells at output stride 16.
_CROP = 769
_PIXELS = (256, 320)


def pool_window(
    pool: str | Sequence[Sequence[int]], output_stride: int
) -> tuple[_Pair, _Pair] | None:
    """The kernel and the stride, (height, width) in cells, that a setting means.

    Args:
        pool: ``'paper'``, ``'global'``, or ((kernel height, width), (stride height,
            width)) in cells.
        output_stride: Of the feature map. The paper's window is 49×49 with strides
            16×20 at 16; at 32 and 8 it covers the same pixels.

    Returns:
        The two, or None for the whole map.

    Raises:
        ValueError: For anything else.
    """
    if pool == 'global':
        return None
    if pool == 'paper':
        side = (_CROP - 1) // output_stride + 1
        return (side, side), tuple(pixels // output_stride for pixels in _PIXELS)
    pairs = () if isinstance(pool, str) else tuple(pool)
    if len(pairs) != 2 or not all(_is_size(pair) for pair in pairs):
        raise ValueError(
            f"pool={pool!r} is impossible; possible: 'paper', 'global', or "
            '((kernel height, width), (stride height, width)) in cells'
        )
    return tuple(pairs[0]), tuple(pairs[1])


def _is_size(pair: object) -> bool:
    return (
        isinstance(pair, Sequence)
        and len(pair) == 2
        and all(isinstance(size, int) and size > 0 for size in pair)
    )


class WindowPool(nn.Module):
    """Averages over windows, which shrink to the map where it is smaller.

    In training on crops of the window's size, and on small pictures, it is a global
    average; on whole street scenes there are several windows, and the gate that comes
    from them varies over the picture.

    Args:
        pool: See :func:`pool_window`.
        output_stride: Of the feature map.
    """

    def __init__(self, pool: str | Sequence[Sequence[int]], output_stride: int) -> None:
        super().__init__()
        self.window = pool_window(pool, output_stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, windows down, windows across)."""
        if self.window is None:
            return F.adaptive_avg_pool2d(x, 1)
        kernel, stride = self.window
        height, width = x.shape[-2:]
        fitting = (min(kernel[0], height), min(kernel[1], width))
        if fitting == (height, width):
            # The same, and exporters know it as one operator.
            return F.adaptive_avg_pool2d(x, 1)
        return F.avg_pool2d(x, fitting, stride)

    def extra_repr(self) -> str:
        """Shows the window."""
        return f'window={self.window}'
