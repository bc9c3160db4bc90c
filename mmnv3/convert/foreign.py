"""Other projects' checkpoints where ours are expected: converted as they are read."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mmnv3.convert.conversion import Converted, select_classes, to_ours
from mmnv3.convert.differences import count_classes, list_differences
from mmnv3.convert.files import guess_project, is_foreign
from mmnv3.errors import UserError


def convert_for(
    model: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    keeps_classes: bool = False,
) -> tuple[Converted, list[str]] | None:
    """Converts a checkpoint for a model, if it is another project's.

    Args:
        model: A model with our backbone.
        state: The checkpoint's tensors.
        source: Its name.
        keeps_classes: Whether classes may be others than the model's, as where a
            training starts from it and learns its own.

    Returns:
        The converted checkpoint, and a sentence for each setting that its network had
        and the model has not; None where nothing is known by these keys.

    Raises:
        UserError: When it holds no network that is known, or when nobody says which of
            its classes the model's are.
    """
    backbone = getattr(model, 'backbone', None)
    spec = getattr(backbone, 'spec', None)
    if spec is None or not is_foreign(state):
        return None
    converted = to_ours(state, guess_project(source, state), spec=spec)
    if wanted := count_classes(model):
        try:
            converted = select_classes(converted, wanted)
        except UserError as error:
            if not keeps_classes:
                raise UserError(f'{source}: {error}') from None
    head = getattr(model, 'decode_head', None)
    form = converted.network.form
    return converted, list_differences(form, source, backbone, head)
