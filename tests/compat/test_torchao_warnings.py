"""A log without torchao's advice, and with everything else."""

import logging

from torch.utils import _pytree


def test_only_that_advice_is_left_out() -> None:
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    _pytree.log.addHandler(handler)
    try:
        _pytree.log.warning('%s is an Enum subclass and is now natively supported', 'x')
        _pytree.log.warning('something else')
    finally:
        _pytree.log.removeHandler(handler)
    assert seen == ['something else']
