"""RMSProp as TensorFlow has it, under the name ``mmnv3.RMSpropTF`` in configs.

TensorFlow adds epsilon under the square root, starts the squared average at 1, and
multiplies by the learning rate before the momentum; PyTorch does none of it. The
optimizer is timm's, which is imported only where a config names it.
"""

from timm.optim import RMSpropTF

from mmnv3.registry import OPTIMIZERS

__all__ = ['RMSpropTF']

OPTIMIZERS.register_module(module=RMSpropTF)
