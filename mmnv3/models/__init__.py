"""Networks as torch modules, registered under their names.

A module is imported when something of it is first asked for: exported files need `nms`,
and none of the toolboxes that the others import.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    'LRASPPHead': 'lraspp',
    'MobileNetV3': 'backbone',
    'MobileNetV3ClsHead': 'classifier',
    'RASPPHead': 'lraspp',
    'SSDLiteAnchorGenerator': 'ssdlite',
    'SSDLiteHead': 'ssdlite',
    'SSDLiteNeck': 'ssdlite',
    'SigmoidFocalLoss': 'ssdlite',
}


def __getattr__(name: str) -> Any:
    """Imports what somebody asks for by `mmnv3.models.NAME`."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)
