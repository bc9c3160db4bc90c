"""Why some prints are not what their networks count.

Sources: the paper's early version (arXiv 1905.02244v1) and its last (v5), the MnasNet
and MobileNetV2 papers, and slim's README. What follows from numbers alone says so.
"""

from __future__ import annotations

from dataclasses import replace

from studies.paper.networks import (
    Classifier,
    Cost,
    Network,
    cost,
    count_products,
)
from studies.paper.tables import Reason


def _with_early_head(network: Classifier) -> Cost:
    return cost(replace(network, head=1280))


def _with_last_384(network: Classifier) -> Cost:
    return cost(replace(network, last=384))


def _without_norm(network: Network) -> Cost:
    found = cost(network)
    return replace(found, params=found.params - found.norm_params)


def _with_products(network: Network) -> Cost:
    found = cost(network)
    return replace(found, madds=found.madds + count_products(network))


CUT = Reason('The print is cut after its last digit, not rounded.')
DIGITS = Reason('The print has few digits: ours, rounded to as many, is the same.')

# Classification.
EARLY_HEAD = Reason(
    'Left from the early version of the paper, whose Small network had 1280 channels '
    'after pooling in place of 1024. The figure is with 1280.',
    _with_early_head,
)
EARLY_66 = Reason(
    'Left from the early version of the paper, and inconsistent there: its rows at '
    'other resolutions belong to a network of 57 M.'
)
LAST_384 = Reason(
    "Slim's rule of widths does not give these. All prints of the multipliers "
    '0.5 and 0.35 fit a last 1×1 convolution of 384 channels, where the rule has 480 '
    'and 336; that follows from the numbers, no source says it (and 2.6 may also be '
    '2.69 cut). The figure is with 384.',
    _with_last_384,
)
TABLE_9_HAS_217 = Reason(
    'Table 9 prints 217 M for the same network, which is what it counts.'
)
V2_WITHOUT_NORM = Reason(
    'Counted without batch normalisation and cut after the last digit. The figure is '
    'without.',
    _without_norm,
)
MNASNET_PRINTS_312 = Reason('The MnasNet paper prints 312 M for this network.')
MNASNET_SMALL = Reason(
    'The MnasNet paper has two small networks: one of 65 M MAdds, 1.9 M parameters and '
    '64.9 %, which is this row, and one of 68 M, 2.0 M and 66.0 %. The layers that '
    'were published, and are built here, are those of the second.'
)
SLIM_65 = Reason(
    "slim's README prints 65 M; the network that slim's own table of layers describes "
    'counts what ours does.'
)

# Detection.
V2_PRINTS_ONE_DIGIT = Reason(
    'The row comes from the MobileNetV2 paper, which prints one digit: 0.8.'
)

# Detection and segmentation.
PRODUCTS = Reason(
    'The print seems to count products without weights too: two for every value of '
    'h-swish, one for every value that squeeze-and-excite scales and, in segmentation, '
    'one for every class score that is resized to the picture. That follows from the '
    'numbers, no source says it. The figure is with them.',
    _with_products,
)

# Segmentation.
V2_TAIL = Reason(
    'The paper does not say which filters of the last block are halved in V2. Halving '
    'the outputs, as here, comes nearest to the print; halving the first expansion as '
    'well, as in V3, misses it by more.'
)
V2_TAIL_035 = Reason(
    'Halving before the multiplier applies, as here, makes 32 channels of the 28 that '
    'halving after it would leave. The latter fits the printed parameters, but lies '
    'further from the printed MAdds.'
)

# Table 2.
SE_MISPRINT = Reason(
    'A misprint: no implementation has squeeze-and-excite here, and with it the '
    'network would have 2.7 M parameters in place of 2.5 M.'
)
