"""Checkpoints of other projects into ours, and back."""

from mmnv3.convert.conversion import Converted, from_ours, to_ours
from mmnv3.convert.files import guess_project, read_state, write_variables
from mmnv3.convert.formats import PROJECTS
from mmnv3.convert.recognition import MisfitError

__all__ = [
    'PROJECTS',
    'Converted',
    'MisfitError',
    'from_ours',
    'guess_project',
    'read_state',
    'to_ours',
    'write_variables',
]
