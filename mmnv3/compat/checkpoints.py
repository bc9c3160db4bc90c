"""Lets `torch.load(weights_only=True)` read the checkpoints that a Runner writes.

Upstream fault: mmengine 0.10.7 calls `torch.load` plainly; since PyTorch 2.6 that
refuses all classes but tensors and plain containers, and a Runner's checkpoint holds
its message hub too. Goes when mmengine allow-lists these classes itself.
"""

import importlib
import importlib.util
import sys
from pickle import UnpicklingError
from types import ModuleType
from typing import Any


def load_mmengine(torch: ModuleType) -> None:
    """Imports mmengine along with torch, so plain `torch.load` is served as well."""
    # Where it is in sys.modules, it is importing torch just now: its turn comes.
    if 'mmengine' not in sys.modules and importlib.util.find_spec('mmengine'):
        importlib.import_module('mmengine')


def _statistic(owner: type, name: str) -> Any:
    """Stands for `getattr` in a checkpoint: gives a HistoryBuffer's statistics only.

    `getattr` itself must not be allowed, since it leads from any class to all of
    Python.
    """
    from mmengine.logging.history_buffer import HistoryBuffer

    if owner is not HistoryBuffer or name.startswith('_'):
        raise UnpicklingError(
            f'the checkpoint asks for {name!r} of {owner!r}; only the statistics of '
            "mmengine's HistoryBuffer are allowed: do not load it unless you trust it"
        )
    return getattr(HistoryBuffer, name)


def allow_runner_checkpoints(history_buffer: ModuleType) -> None:
    """Allow-lists what the message hub is made of, all of which only holds data."""
    import numpy as np
    import torch

    # `log_scalars` of the hub are HistoryBuffers around NumPy arrays; `runtime_info`
    # holds NumPy scalars such as the best score. NumPy 1 pickled their constructors
    # under the folder's old name, `numpy.core`.
    array = np.zeros(1)
    constructors = [
        (function, f'numpy.{folder}.multiarray.{function.__name__}')
        for function in (array.__reduce__()[0], array[0].__reduce__()[0])
        for folder in ('core', '_core')
    ]
    dtypes = {type(np.dtype(kind)) for kind in '?bhilqBHILQefd'}
    torch.serialization.add_safe_globals(
        [
            history_buffer.HistoryBuffer,
            (_statistic, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            *constructors,
            *dtypes,
        ]
    )
