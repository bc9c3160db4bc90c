"""How fast models are, and what they cost.

``clock`` times, ``models`` makes what is timed (``timed_model`` says what that is, and
``foreign`` has what others' code runs), ``latency`` and ``training`` are the two tasks
of ``tools/benchmark.py``, ``report`` shows them, ``machine`` names where it was, and
``counts`` counts.
"""

from mmnv3.benchmark.counts import Complexity, count

__all__ = ['Complexity', 'count']
