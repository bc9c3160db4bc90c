"""Work on a long list by several threads, in order and never far ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar('T')
R = TypeVar('R')

# Jobs in flight for each thread: one that it does and one that waits for it.
_AHEAD = 2


def stream(job: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Does a job on every item, in threads.

    At most two items for each thread are begun before their results are taken. PyTorch
    uses one thread inside each.

    Args:
        job: What is done; an error ends the stream.
        items: What it is done on.
        workers: Threads.

    Yields:
        What it returns, in the order of the items.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        workers, 'mmnv3', initializer=torch.set_num_threads, initargs=(1,)
    )
    pending: deque = deque()
    try:
        for item in items:
            if len(pending) == _AHEAD * workers:
                yield pending.popleft().result()
            pending.append(pool.submit(job, item))
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # Parts of the number belong to the process.
        torch.set_num_threads(before)
