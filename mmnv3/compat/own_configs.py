"""Lets mmengine find our configs by name, as ``mmnv3::ssdlite_mnv3_large_coco.py``.

Upstream fault: mmengine 0.10.7 takes ``package::…`` from a list of OpenMMLab's own
packages only, demands a folder in the config's name, and reads such names as bases and
in ``get_config``, but not in ``Config.fromfile``. Goes when packages can join the list.
"""

import functools
import sys
from types import ModuleType
from typing import Any

from mmnv3.mim import PREFIX, find_config


def _is_ours(name: Any) -> bool:
    return isinstance(name, str) and name.startswith(PREFIX)


def find_by_name(config: ModuleType) -> None:
    """Extends ``Config.fromfile`` and bases."""
    from_file, base_path = config.Config.fromfile, config.Config._get_cfg_path

    @functools.wraps(from_file)
    def read(filename: Any, *args: Any, **kwargs: Any) -> Any:
        name = find_config(filename) if _is_ours(filename) else filename
        return from_file(name, *args, **kwargs)

    @functools.wraps(base_path)
    def find_base(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if _is_ours(cfg_path):
            # Without a scope: our configs name that of their toolbox themselves.
            return find_config(cfg_path), None
        return base_path(cfg_path, filename)

    config.Config.fromfile = staticmethod(read)
    config.Config._get_cfg_path = staticmethod(find_base)


def get_by_name(hub: ModuleType) -> None:
    """Extends ``get_config``."""
    theirs = hub.get_config

    @functools.wraps(theirs)
    def get_config(cfg_path: str, pretrained: bool = False) -> Any:
        if not _is_ours(cfg_path):
            return theirs(cfg_path, pretrained)
        # As upstream's does of a config without weights.
        assert not pretrained, f'no weights are published for {cfg_path}'
        return hub.Config.fromfile(cfg_path)

    # mmengine may have been imported before, and copied the name.
    for module in (hub, sys.modules.get('mmengine.hub')):
        if getattr(module, 'get_config', None) is theirs:
            module.get_config = get_config
