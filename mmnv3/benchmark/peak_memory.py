"""The memory that a model needs, measured in a process of its own.

Run as a program it is that process.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Pictures after the one that sets things up.
_RUNS = 3


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
        child: ``Subject.child``.

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


def resident_peak() -> float | None:
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


def _run(child: dict[str, Any]) -> None:
    import torch

    from mmnv3.benchmark.subject import Request, run_stages

    request = Request(**child['request'])
    torch.set_num_threads(request.threads)
    if 'path' in child:
        import numpy as np

        from mmnv3.deploy.pipeline import prepare_picture
        from mmnv3.deploy.results import finish
        from mmnv3.deploy.runtime import load_runtime

        pictures = request.pictures()
        before = resident_peak()
        runtime = load_runtime(child['path'], request.threads)
        for _ in range(1 + _RUNS):
            prepared = [prepare_picture(picture, runtime.info) for picture in pictures]
            batch = np.stack(prepared)
            sizes = [picture.shape[1::-1] for picture in pictures]
            finish(runtime(batch), runtime.info, sizes)
    else:
        from mmnv3.benchmark.subjects import Subjects

        before = resident_peak()
        subjects = Subjects()
        subjects.add(request, [child['backend']], ['fp32'], False, Path())
        subject = subjects.ready[0]
        with torch.no_grad():
            for _ in range(_RUNS):
                run_stages(subject.stages, subject.pictures)
    peak = resident_peak()
    if peak is None:
        return
    found: dict[str, Any] = dict(total=peak, model=peak - before)
    if request.device == 'cuda':
        found['device'] = torch.cuda.max_memory_allocated() / 2**20
    print(f'peak {found}', flush=True)


if __name__ == '__main__':
    _run(ast.literal_eval(sys.argv[1]))
