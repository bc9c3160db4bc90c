"""Independent jobs, one after the other in this process or spread by Ray."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from mmnv3.ray_cluster import connect

Job = TypeVar('Job')
Result = TypeVar('Result')

# How often a job is started anew whose worker was lost.
RETRIES = 3


@dataclass(frozen=True)
class Failure:
    """What a job left that ended with an error.

    Args:
        error: The error.
    """

    error: Exception

    def __str__(self) -> str:
        lines = str(self.error).strip().splitlines()
        return lines[-1] if lines else type(self.error).__name__


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], ray: str | None = None
) -> Iterator[tuple[int, Result | Failure]]:
    """Calls a function once per job.

    Args:
        function: Takes a job. For Ray it, the jobs and the results must be picklable.
        jobs: The jobs; none depends on another.
        ray: None calls in this process. ``'local'`` starts Ray on this machine, with
            one worker per core; anything else is the address of a Ray cluster, whose
            machines need the same packages and data. A job whose worker is lost is
            started anew, up to three times.

    Yields:
        The index of a job and what the function returned, or a :class:`Failure` where
        it raised an error, as the jobs end: in their order without Ray.

    Raises:
        KeyboardInterrupt: After Ctrl-C, which is never the failure of a job.
        UserError: When Ray is not installed or its cluster cannot be reached.
    """
    if ray is None:
        for index, job in enumerate(jobs):
            try:
                with interrupted_by_ctrl_c():
                    result = function(job)
            except Exception as error:
                yield index, Failure(error)
            else:
                yield index, result
    else:
        yield from _run_by_ray(function, jobs, ray)


@contextmanager
def interrupted_by_ctrl_c() -> Iterator[None]:
    """Makes Ctrl-C end what runs inside, whatever is made of it there.

    A KeyboardInterrupt may be lost: processes that load data die of Ctrl-C too, and
    the error that PyTorch raises for them replaces it; and Python drops what is raised
    in a destructor.

    Raises:
        KeyboardInterrupt: After Ctrl-C, at the end at the latest.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(
        before
    ):
        yield  # Python interrupts main threads only, and what is ignored stays so.
        return
    seen = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except BaseException as error:
        if seen:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt


def _run_by_ray(
    function: Callable[[Job], Result], jobs: Sequence[Job], address: str
) -> Iterator[tuple[int, Result | Failure]]:
    ray = connect(address)

    # Ray takes functions only, not whatever can be called.
    def call(job: Job) -> Result:
        return function(job)

    remote = ray.remote(max_retries=RETRIES)(call)
    pending = {remote.remote(job): index for index, job in enumerate(jobs)}
    try:
        while pending:
            (done,), _ = ray.wait(list(pending), num_returns=1)
            index = pending.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.TaskCancelledError:
                # By Ctrl-C, which reached the worker first; nobody else cancels it.
                raise KeyboardInterrupt from None
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, KeyboardInterrupt):
                    raise KeyboardInterrupt from None
                result = Failure(error.cause)
            except ray.exceptions.RayError as error:
                result = Failure(error)
            yield index, result
    finally:
        # Where the caller stops listening, the rest is of no use.
        for reference in pending:
            ray.cancel(reference, force=True)
