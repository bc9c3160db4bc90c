"""A log without torchao's advice, and with everything else."""


def test_only_that_advice_is_left_out(run_python) -> None:
    code = """
import logging
import mmnv3, torch
from torch.utils import _pytree

seen = []
handler = logging.Handler()
handler.emit = lambda record: seen.append(record.getMessage())
_pytree.log.addHandler(handler)
_pytree.log.warning('%s is an Enum subclass and is now natively supported', 'x')
_pytree.log.warning('something else')
print(seen)
"""
    assert run_python(code) == "['something else']"
