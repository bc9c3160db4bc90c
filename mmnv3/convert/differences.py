"""How a converted checkpoint differs from a config: in its keys, and beyond them."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnv3.convert.conversion import Converted
from mmnv3.convert.formats import CheckpointFormat
from mmnv3.convert.recognition import Misfit, MisfitError
from mmnv3.engine.checkpoints import compare_states
from mmnv3.errors import UserError
from mmnv3.models.layers import GATES, Conv2dSame


def trained_with(form: CheckpointFormat, source: str | Path) -> tuple[float, str]:
    """The batch normalisation's eps and the padding of a file's network.

    No key tells them.

    Args:
        form: The file's format.
        source: Its name; timm's ``tf_`` networks are TensorFlow's, and only the name
            tells.
    """
    if form.project == 'timm' and 'tf_' in Path(str(source)).name:
        return 1e-3, 'same'
    return form.eps, form.padding


def describe_settings(form: CheckpointFormat, source: str | Path) -> str:
    """Says in a line what a config for a converted file has to set."""
    eps, padding = trained_with(form, source)
    wants = [_norm_cfg(eps), f'padding={padding!r}']
    if form.gate != CheckpointFormat.gate:
        wants.append(f'gate={form.gate!r}')
    *others, last = wants
    return f'its backbone wants {", ".join(others)}{" and " if others else ""}{last}'


def _norm_cfg(eps: float) -> str:
    return f'norm_cfg=dict(type="BN", eps={eps:g})'


def _other_eps(form: CheckpointFormat, source: str | Path, backbone: nn.Module) -> str:
    """A sentence where the eps differs, '' where it does not."""
    eps, _ = trained_with(form, source)
    epsilons = {m.eps for m in backbone.modules() if isinstance(m, _BatchNorm)}
    if epsilons == {eps}:
        return ''
    # LiteRT's files have it folded into their kernels; what stands in its place here
    # does nothing with this eps alone.
    became = 'is converted for' if form.project == 'tflite' else 'was trained with'
    return (
        f'{source} {became} eps={eps:g} in batch normalisation, and the '
        f'config has {", ".join(f"{value:g}" for value in sorted(epsilons))}; set '
        f'{_norm_cfg(eps)}'
    )


def _other_padding(
    form: CheckpointFormat, source: str | Path, backbone: nn.Module
) -> str:
    """A sentence where the padding differs, '' where it does not."""
    _, padding = trained_with(form, source)
    same = any(isinstance(module, Conv2dSame) for module in backbone.modules())
    ours = 'same' if same else 'symmetric'
    if ours == padding:
        return ''
    return (
        f'{source} was trained with padding={padding!r}, and the config has '
        f'{ours!r}; set padding={padding!r}'
    )


def _other_gate(form: CheckpointFormat, source: str | Path, backbone: nn.Module) -> str:
    """A sentence where squeeze-and-excites have other gates, '' where they do not."""
    gates = {block.se.gate for block in backbone.spec.blocks if block.se}
    # Of a quantised classifier nobody can say which it had.
    known = (form.project, form.task) != ('tflite', 'classification')
    if not known or gates <= {form.gate, 'sigmoid'}:
        return ''
    return (
        f'{source} was trained with gate={form.gate!r}, and the config has '
        f'{", ".join(map(repr, sorted(gates)))}; set gate={form.gate!r}'
    )


def _other_head(
    form: CheckpointFormat, source: str | Path, head: nn.Module | None
) -> str:
    """A sentence where a segmenter's head has another gate, '' where it has not."""
    ours = getattr(head, 'gate', None)
    if form.project != 'tensorflow' or ours is None:
        return ''
    if isinstance(ours, GATES[form.gate]):
        return ''
    return (
        f'{source} was trained with gate={form.gate!r} and another window in '
        'decode_head; use configs/lraspp_mnv3_*_cityscapes_google.py, or set them'
    )


def list_differences(
    form: CheckpointFormat,
    source: str | Path,
    backbone: nn.Module,
    head: nn.Module | None = None,
) -> list[str]:
    """Settings of a model that are not those its weights were trained with.

    Args:
        form: The file's format.
        source: Its name.
        backbone: A ``MobileNetV3``.
        head: Of a segmenter, if it has weights from the file too.

    Returns:
        One sentence each, empty where all agrees.
    """
    found = (
        _other_eps(form, source, backbone),
        _other_padding(form, source, backbone),
        _other_gate(form, source, backbone),
        _other_head(form, source, head),
    )
    return [text for text in found if text]


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
        UserError: When batch normalisation has another eps, with which the weights
            would compute something else from the first layer on.
    """
    if differences := compare_states(model.state_dict(), converted.state):
        raise MisfitError(
            Misfit(converted.network, differences),
            f'the file holds {converted.network}, and the config another network',
        )
    form = converted.network.form
    if text := _other_eps(form, source, model.backbone):
        raise UserError(f'{text}; nothing was converted')
    head = getattr(model, 'decode_head', None)
    return list_differences(form, source, model.backbone, head)
