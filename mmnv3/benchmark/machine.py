"""The machine that something was measured on, and the memory that models need.

Run as a program it is the process whose memory is measured.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from mmnv3.cpu import processor_name

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
# Pictures after the one that sets things up.
_RUNS = 3


def describe_machine(threads: int, device: str = 'cpu') -> dict[str, Any]:
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
    machine: dict[str, Any] = dict(
        processor=processor_name(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        cores=os.cpu_count(),
        threads=threads,
        packages=packages,
    )
    if device == 'cuda':
        machine['gpu'] = torch.cuda.get_device_name()
    return machine


def machine_line(machine: dict[str, Any]) -> str:
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


@dataclass(frozen=True)
class PeakMemory:
    """What a process held at most, in MiB.

    Attributes:
        total: All of it: Python, the imported packages, the model.
        model: What was added after the imports.
        device: What tensors held on a GPU; None without one.
    """

    total: float
    model: float
    device: float | None = None


def measure_peak_memory(child: Mapping[str, Any]) -> PeakMemory | None:
    """Loads a model in a fresh process and runs pictures through it.

    An exported file is loaded as its users do. Without one the model is built from its
    config, which then is part of the peak.

    Args:
        child: ``TimedModel.child``.

    Returns:
        The peak; None where the system does not tell it, or where the process failed.
    """
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', __name__, repr(dict(child))],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))},
    )
    # Some runtimes crash while they end, when everything has been printed.
    found = re.search(r'^peak (\{.*\})$', done.stdout, re.MULTILINE)
    return PeakMemory(**ast.literal_eval(found.group(1))) if found else None


def _resident_peak() -> float | None:
    """Most MiB that this process has held so far; None where nobody counts.

    ``ru_maxrss`` will not do: on Linux a process inherits it from the one that started
    it.
    """
    try:
        status = Path('/proc/self/status').read_text()
    except OSError:
        return None
    found = re.search(r'^VmHWM:\s+(\d+) kB', status, re.MULTILINE)
    return int(found.group(1)) / 1024 if found else None


def _run_child(given: dict[str, Any], backend: str, path: str | None) -> None:
    """Runs a model in this process, and prints its peak."""
    from mmnv3.benchmark.timed_model import Request, run_stages

    request = Request(**given)
    torch.set_num_threads(request.threads)
    if path:
        from mmnv3.deploy.predictor import Predictor

        pictures = request.pictures()
        before = _resident_peak()
        predict = Predictor(path, threads=request.threads)
        for _ in range(1 + _RUNS):
            predict(pictures)
    else:
        from mmnv3.benchmark.models import find_models

        before = _resident_peak()
        (model,), _ = find_models(request, [backend], ['fp32'], False, Path())
        with torch.no_grad():
            for _ in range(_RUNS):
                run_stages(model.stages, model.pictures)
    peak = _resident_peak()
    if peak is None or before is None:
        return
    found = dict(total=peak, model=peak - before)
    if request.device == 'cuda':
        found['device'] = torch.cuda.max_memory_allocated() / 2**20
    print(f'peak {found}', flush=True)


if __name__ == '__main__':
    _child = ast.literal_eval(sys.argv[1])
    _run_child(_child['request'], _child['backend'], _child['path'])
