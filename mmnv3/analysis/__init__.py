"""What networks cost."""

from mmnv3.analysis.complexity import Complexity, count

__all__ = ['Complexity', 'count']
