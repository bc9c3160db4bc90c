"""The variables of TensorFlow's networks under names like PyTorch's, and back.

Source: slim ``mobilenet_v3.py``, the Object Detection API's and DeepLab's graphs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

# The last part of a variable's name, and of a tensor's.
_NAMES = {
    'weights': 'weight',
    'depthwise_weights': 'weight',
    'biases': 'bias',
    'gamma': 'weight',
    'beta': 'bias',
    'moving_mean': 'running_mean',
    'moving_variance': 'running_var',
}
_NORMS = {
    'weight': 'gamma',
    'bias': 'beta',
    'running_mean': 'moving_mean',
    'running_var': 'moving_variance',
}
# How a kernel lies in TensorFlow, (height, width, in, out), as PyTorch wants it; of a
# depthwise one the last two are (channels, 1).
_AXES = {'weights': (3, 2, 0, 1), 'depthwise_weights': (2, 3, 0, 1)}

# A detector's extra levels, which are named by the last layer of the backbone and by
# their widths: layer_17_2_Conv2d_3_3x3_s2_256_depthwise.
_EXTRA = re.compile(
    r'layer_\d+_(?P<place>[12])_Conv2d_(?P<level>\d)_(1x1|3x3_s2)_\d+'
    r'(?P<depthwise>_depthwise)?'
)


def is_variable(name: str) -> bool:
    """Whether a name is that of a weight of a layer."""
    return '/' in name and name.rpartition('/')[2] in _NAMES


def from_variables(variables: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Gives the variables of a network names and axes that can be compared with ours.

    Args:
        variables: Arrays by names such as ``'MobilenetV3/Conv/BatchNorm/gamma'``.

    Returns:
        Tensors, float32, by names such as ``'MobilenetV3/Conv/BatchNorm.weight'``.
        Of the extra levels of a detector only place and level are left of the names,
        as ``'extra_2_1'``. What is no weight of a layer, as the global step or an
        optimiser's memory, is left out.
    """
    state = {}
    for name, value in variables.items():
        if not is_variable(name):
            continue
        scope, _, last = name.rpartition('/')
        if last in _AXES and value.ndim == 4:
            value = value.transpose(_AXES[last])
        key = f'{_EXTRA.sub(_short_name, scope)}.{_NAMES[last]}'
        state[key] = torch.from_numpy(np.ascontiguousarray(value, np.float32))
    return state


def _short_name(match: re.Match) -> str:
    return 'extra_{level}_{place}{depthwise}'.format_map(match.groupdict(''))


def to_variables(state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The inverse of :func:`from_variables`.

    Args:
        state: Tensors by the names that it gives.

    Returns:
        Float32 arrays by TensorFlow's names.
    """
    blocks = {key.split('/expanded_conv')[1].split('/')[0] for key in state
              if '/expanded_conv' in key}  # fmt: skip
    # The stem is the first layer, and another convolution follows the blocks.
    last_layer = len(blocks) + 2
    widths = {
        key.removesuffix('.weight'): len(value)
        for key, value in state.items()
        if key.endswith('.weight')
    }
    variables = {}
    for key, value in state.items():
        scope, name = key.rsplit('.', 1)
        if name == 'num_batches_tracked':
            continue
        array = value.detach().cpu().float().numpy()
        if scope.endswith('/BatchNorm'):
            last = _NORMS[name]
        elif name == 'bias':
            last = 'biases'
        else:
            last = _kernel_name(scope)
            shape = array.shape if array.ndim == 4 else (*array.shape, 1, 1)
            axes = np.argsort(_AXES[last])
            array = np.ascontiguousarray(array.reshape(shape).transpose(axes))
        variables[f'{_long_name(scope, widths, last_layer)}/{last}'] = array
    return variables


def _kernel_name(scope: str) -> str:
    return 'depthwise_weights' if scope.endswith('depthwise') else 'weights'


def _long_name(scope: str, widths: Mapping[str, int], last_layer: int) -> str:
    """The scope of an extra level as TensorFlow has it; others as they are."""
    match = re.search(r'extra_(\d)_(\d)(_depthwise)?', scope)
    if not match:
        return scope
    level, place, depthwise = match.groups('')
    prefix = scope[: match.start()]
    width = widths[f'{prefix}extra_{level}_{place}']
    kernel = '1x1' if place == '1' else '3x3_s2'
    name = f'layer_{last_layer}_{place}_Conv2d_{level}_{kernel}_{width}{depthwise}'
    return prefix + name + scope[match.end() :]
