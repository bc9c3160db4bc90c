"""The machine that something was measured on."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path

import torch

# What decides the time of a network, where it is installed.
_PACKAGES = (
    'torch',
    'torchvision',
    'onnxruntime',
    'openvino',
    'ai-edge-litert',
    'mmcv-lite',
    'mmcv',
    'mmdet',
    'mmsegmentation',
    'mmpretrain',
)


def describe_machine(threads: int, device: str = 'cpu') -> dict[str, object]:
    """Names the processor, its cores, the threads that are used, and the packages.

    Args:
        threads: Threads of one call.
        device: ``'cpu'`` or ``'cuda'``.
    """
    packages = {'python': platform.python_version()}
    for package in _PACKAGES:
        try:
            packages[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    machine: dict[str, object] = dict(
        processor=_processor(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        cores=os.cpu_count(),
        threads=threads,
        packages=packages,
    )
    if device == 'cuda':
        machine['gpu'] = torch.cuda.get_device_name()
    return machine


def machine_line(machine: dict[str, object]) -> str:
    """One line from :func:`describe_machine`."""
    packages = ', '.join(
        f'{name} {version}' for name, version in machine['packages'].items()
    )
    gpu = f'{machine["gpu"]}; ' if 'gpu' in machine else ''
    threads = machine['threads']
    return (
        f'{gpu}{machine["processor"]} ({machine["instructions"]}), '
        f'{machine["cores"]} cores, {threads} thread{"s" * (threads > 1)}; {packages}'
    )


def _processor() -> str:
    """The processor's name; its architecture where the system says no more."""
    try:
        found = re.search(
            r'^model name\s*:\s*(.+)$',
            Path('/proc/cpuinfo').read_text(),
            re.MULTILINE,
        )
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()
