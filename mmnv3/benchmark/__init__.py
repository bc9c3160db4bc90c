"""What networks cost."""

from mmnv3.benchmark.complexity import Complexity, count

__all__ = ['Complexity', 'count']
