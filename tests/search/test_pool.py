"""Jobs here and by Ray, where workers are lost."""

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmnv3.errors import UserError
from mmnv3.ray_cluster import HERE
from mmnv3.search import pool
from mmnv3.search.pool import Failure, run_jobs


def test_jobs_run_here_in_order_and_errors_are_results():
    def invert(x):
        if x == 0:
            raise UserError('no zero')
        return os.getpid(), 1 / x

    found = list(run_jobs(invert, [2, 0, 4]))
    assert [index for index, _ in found] == [0, 1, 2]
    assert found[0][1] == (os.getpid(), 0.5)
    assert isinstance(found[1][1], Failure) and str(found[1][1]) == 'no zero'
    assert found[2][1] == (os.getpid(), 0.25)


def test_a_caller_can_stop_listening():
    done = []
    next(run_jobs(done.append, [1, 2, 3]))
    assert done == [1]


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)  # The handler comes at the next bytecode.


def replaced():
    """As when processes that load data die of it too."""
    try:
        ctrl_c()
    finally:
        raise RuntimeError('DataLoader worker (pid 7) exited unexpectedly')


def swallowed():
    with contextlib.suppress(KeyboardInterrupt):
        ctrl_c()


@pytest.mark.parametrize('interrupt', [ctrl_c, replaced, swallowed])
def test_ctrl_c_is_never_the_failure_of_a_job(interrupt):
    before, found = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt):
        for index, result in run_jobs(lambda job: job(), [int, interrupt, int]):
            found.append((index, result))
    assert found == [(0, 0)]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_job_in_another_thread_runs_as_well():
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: list(run_jobs(abs, [-1]))).result() == [(0, 1)]


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert list(run_jobs(lambda job: job(), [swallowed])) == [(0, None)]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize('kind', ['cancelled', 'raised'])
def test_ctrl_c_that_reaches_a_worker_of_ray_first(kind, monkeypatch):
    class CancelledError(Exception):
        pass

    class TaskError(Exception):
        cause = KeyboardInterrupt()

    def get(_):
        raise CancelledError if kind == 'cancelled' else TaskError

    monkeypatch.setattr(
        pool,
        'connect',
        lambda _: SimpleNamespace(
            remote=lambda **_: lambda call: SimpleNamespace(remote=id),
            wait=lambda pending, num_returns: (pending[:1], pending[1:]),
            get=get,
            cancel=lambda *_, **__: None,
            exceptions=SimpleNamespace(
                TaskCancelledError=CancelledError,
                RayTaskError=TaskError,
                RayError=OSError,
            ),
        ),
    )
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(str, ['a', 'b'], HERE))


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'ray', None)
    with pytest.raises(UserError, match=r'ray is not installed; .*\[search\]'):
        list(run_jobs(str, [1], HERE))


@pytest.fixture(scope='module')
def ray():
    ray = pytest.importorskip('ray')
    yield ray
    ray.shutdown()


def test_a_cluster_that_is_not_there_is_one_line(ray):
    with pytest.raises(UserError, match='no Ray cluster at') as error:
        list(run_jobs(str, [1], '127.0.0.1:1'))
    assert '\n' not in str(error.value)


def test_a_lost_worker_costs_nothing(ray, tmp_path: Path):
    folder = str(tmp_path)

    def job(number):
        mark = Path(folder) / str(number)
        if number == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
        if number == 2:
            raise UserError('odd')
        if number == 3:
            os.kill(os.getpid(), 9)
        return os.getpid(), number**2

    class Callable:
        def __call__(self, number):
            return job(number)

    found = dict(run_jobs(Callable(), [0, 1, 2, 3], HERE))
    assert found[0][1] == 0 and found[0][0] != os.getpid()
    assert (tmp_path / '1').exists() and found[1][1] == 1
    assert isinstance(found[2].error, UserError) and str(found[2]) == 'odd'
    # One that kills every worker is given up.
    assert isinstance(found[3], Failure)
