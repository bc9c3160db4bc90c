"""MobileNetV3, SSDLite, LR-ASPP and their searches for OpenMMLab.

Importing the package loads nothing but the standard library. It only leaves notes
for later: what to mend in OpenMMLab's packages (`mmnv3.compat`) and which bare name
to claim in mmdet, each carried out when the module concerned is imported.
"""

from types import ModuleType
from typing import Any

from mmnv3 import compat
from mmnv3.compat.after_import import after_import

__version__ = '0.1.0'


def _offer_bare_name(mmdet_registry: ModuleType) -> None:
    """Lets mmdet's registry find our backbone when it first looks a name up."""
    models = mmdet_registry.MODELS
    models._locations.append('mmnv3.mmdet_names')
    # A registry reads its locations once: it may have done so before we were here.
    models._imported = False


compat.apply()
after_import('mmdet.registry', _offer_bare_name)


def __getattr__(name: str) -> Any:
    """Imports `mmnv3.Predictor` when it is first asked for."""
    if name == 'Predictor':
        from mmnv3.deploy.predictor import Predictor

        return Predictor
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
