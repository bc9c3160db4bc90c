"""Keeps OneDL's mmengine from loading a checkpoint unsafely.

Upstream fault: `_safe_torch_load` of onedl-mmengine 0.10.12 answers a refusal of
`weights_only=True` by loading the same file with `weights_only=False`, which runs
whatever code the file holds. Goes when OneDL drops that fallback.
"""

from types import ModuleType
from typing import Any


def _load(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    import torch

    return torch.load(file, map_location=map_location, weights_only=weights_only)


def never_load_unsafely(checkpoint: ModuleType) -> None:
    """Puts PyTorch's own loading, safe by default, in place of OneDL's."""
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = _load
