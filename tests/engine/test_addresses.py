"""Files that mmengine does not read by itself, read by its own functions."""

from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file, save_file

import mmnv3.engine  # noqa: F401, as every config of ours does
from mmnv3.engine.checkpoints import read_checkpoint
from mmnv3.errors import UserError
from tests.server import serve


class Part(BaseModule):
    """A layer that can be initialised from a file."""

    def __init__(self, **init_cfg: str) -> None:
        super().__init__(init_cfg=dict(type='Pretrained', **init_cfg))
        self.layer = torch.nn.Linear(2, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    state = Part(checkpoint='').state_dict()
    path = tmp_path / 'a.safetensors'
    save_file({f'part.{key}': value + 3 for key, value in state.items()}, path)
    return path


def test_mmengine_loads_safetensors(path: Path) -> None:
    whole = torch.nn.ModuleDict(dict(part=Part(checkpoint='')))
    load_checkpoint(whole, str(path), map_location='cpu', strict=True)
    part = Part(checkpoint=str(path), prefix='part.')
    part.init_weights()
    for key, value in part.state_dict().items():
        assert value.min() > 2
        assert torch.equal(whole.state_dict()[f'part.{key}'], value)


def test_so_it_does_from_the_web(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    expected = load_file(path)
    with serve(tmp_path) as host:
        for address in (f'{host}/a.safetensors', f'{host}/a.safetensors?download=true'):
            part = Part(checkpoint=address, prefix='part.')
            part.init_weights()
            for key, value in part.state_dict().items():
                assert torch.equal(value, expected[f'part.{key}'])
            # As `load_from` and all tools read it.
            assert read_checkpoint(address).state.keys() == expected.keys()
        # Whatever becomes of the server's, the cache has it.
        path.unlink()
        assert read_checkpoint(address).state.keys() == expected.keys()
        (cached,) = (tmp_path / 'cache').rglob('*.safetensors')
        cached.write_bytes(cached.read_bytes()[:-1])
        with pytest.raises(
            UserError,
            match=r'cache\S+/a\.safetensors cannot be read .*; remove it, and',
        ):
            read_checkpoint(address)
        cached.unlink()
        with pytest.raises(UserError, match=r'cannot be fetched .* 404: .*download it'):
            read_checkpoint(address)
    with pytest.raises(UserError, match=r'^http://\S+ cannot be fetched \(http'):
        read_checkpoint(address)
    assert not list(cached.parent.iterdir())


def test_damaged_ones_are_named(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r'a\.safetensors cannot be read as a check'):
        load_checkpoint(Part(checkpoint=''), str(path))
