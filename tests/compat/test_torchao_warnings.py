"""A log without torchao's advice, and with everything else."""

import logging
from types import ModuleType

from torch.utils import _pytree

from mmnv3.compat.torchao_warnings import hide_enum_warnings


def test_only_that_advice_is_left_out() -> None:
    seen = []
    log = logging.getLogger(_pytree.__name__)
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    log.addHandler(handler)
    try:
        log.warning('%s is an Enum subclass and is now natively supported', 'x')
        log.warning('something else')
    finally:
        log.removeHandler(handler)
    assert seen == ['something else']


def test_a_pytorch_that_has_no_log_there_yet() -> None:
    pytree = ModuleType('a_pytree_without_log')
    hide_enum_warnings(pytree)
    assert logging.getLogger(pytree.__name__).filters
