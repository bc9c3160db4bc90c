"""Lets ONNX exports after the first start at once.

Upstream fault: whenever PyTorch 2.14 exports, onnxscript 0.7 parses the source of all
its 560 operators anew: 0.9 s of every export, also of a single layer, of which latency
tables export hundreds. Goes when they are parsed once.
"""

from functools import cache
from types import ModuleType


def parse_once(apis: ModuleType) -> None:
    """Keeps the list of operators, which its readers leave as it is."""
    apis.get_torchlib_ops = cache(apis.get_torchlib_ops)
