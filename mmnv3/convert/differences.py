"""How a converted checkpoint differs from a config: in its keys, and beyond them."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnv3.convert.conversion import Converted
from mmnv3.convert.formats import CheckpointFormat
from mmnv3.convert.recognition import Misfit, MisfitError
from mmnv3.engine.checkpoints import compare_states
from mmnv3.models.layers import Conv2dSame


def list_differences(
    form: CheckpointFormat, source: str | Path, backbone: nn.Module
) -> list[str]:
    """Settings of a backbone that are not those its weights were trained with.

    Args:
        form: The file's format.
        source: Its name; timm's ``tf_`` networks are TensorFlow's, and only the name
            tells.
        backbone: A ``MobileNetV3``.

    Returns:
        One sentence each, empty where all agrees.
    """
    eps, padding = form.eps, form.padding
    if form.project == 'timm' and 'tf_' in Path(str(source)).name:
        eps, padding = 1e-3, 'same'
    found = []
    epsilons = {m.eps for m in backbone.modules() if isinstance(m, _BatchNorm)}
    if epsilons != {eps} and form.project != 'tflite':
        found.append(
            f'{source} was trained with eps={eps:g} in batch normalisation, and the '
            f'config has {", ".join(f"{value:g}" for value in sorted(epsilons))}; set '
            f'norm_cfg=dict(type="BN", eps={eps:g})'
        )
    same = any(isinstance(module, Conv2dSame) for module in backbone.modules())
    ours = 'same' if same else 'symmetric'
    if ours != padding:
        found.append(
            f'{source} was trained with padding={padding!r}, and the config has '
            f'{ours!r}; set padding={padding!r}'
        )
    return found


def count_classes(model: nn.Module) -> int | None:
    """The number of classes of a config's model, without background."""
    heads = (
        getattr(model, name, None) for name in ('head', 'bbox_head', 'decode_head')
    )
    return next((head.num_classes for head in heads if head is not None), None)


def check_against(
    converted: Converted, source: str | Path, model: nn.Module
) -> list[str]:
    """Compares a converted checkpoint with the model of a config.

    Returns:
        Warnings, as :func:`list_differences`.

    Raises:
        MisfitError: When keys are missing, unexpected or of another shape.
    """
    if differences := compare_states(model.state_dict(), converted.state):
        raise MisfitError(Misfit(converted.network, differences))
    return list_differences(converted.network.form, source, model.backbone)
