"""OneDL's way back to unsafe loading is closed."""

import pickle
from types import ModuleType

import pytest
import torch

from mmnv3.compat.onedl_load import never_load_unsafely


class Foreign:
    """A class that no checkpoint of ours holds."""


@pytest.fixture
def checkpoint() -> ModuleType:
    """`mmengine.runner.checkpoint` as OneDL has it, for what matters here."""
    module = ModuleType('checkpoint')

    def load(file, map_location=None, weights_only=None):
        return torch.load(file, map_location=map_location, weights_only=False)

    module._safe_torch_load = load
    never_load_unsafely(module)
    return module


def test_safe_files_load(checkpoint, tmp_path):
    torch.save({'weight': torch.ones(2)}, tmp_path / 'own.pth')
    state = checkpoint._safe_torch_load(tmp_path / 'own.pth', map_location='cpu')
    assert torch.equal(state['weight'], torch.ones(2))


def test_unsafe_files_are_refused(checkpoint, tmp_path):
    torch.save(Foreign(), tmp_path / 'foreign.pth')
    with pytest.raises(pickle.UnpicklingError, match='Foreign'):
        checkpoint._safe_torch_load(tmp_path / 'foreign.pth')


def test_mmengine_without_that_function_is_left_alone():
    module = ModuleType('checkpoint')
    never_load_unsafely(module)
    assert not hasattr(module, '_safe_torch_load')
