"""Keeps torchao's advice to its own developers out of every tool's output.

Upstream fault: torchao 0.18, which litert-torch brings, registers enumerations with
PyTorch as constants when it is imported, and torch 2.14 logs a warning for each that
this is deprecated. Goes when torchao leaves it.
"""

import logging
from types import ModuleType


def hide_enum_warnings(pytree: ModuleType) -> None:
    """Leaves those records out of the log of ``torch.utils._pytree``."""
    # Its `log`, which PyTorch 2.6 has not yet.
    logging.getLogger(pytree.__name__).addFilter(_is_other)


def _is_other(record: logging.LogRecord) -> bool:
    return 'is an Enum subclass' not in str(record.msg)
