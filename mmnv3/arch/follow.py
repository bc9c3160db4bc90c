"""What follows from a backbone: the channels of neck and heads, and their stride.

Configs, the searches and the defaults of our classes all take it from here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmnv3.arch.layers import Network
from mmnv3.arch.scale import WIDEST
from mmnv3.arch.spec import check_counts, check_positive
from mmnv3.arch.taps import Tap, choose_taps
from mmnv3.errors import UserError

# Of the four levels that SSDLite adds to the backbone's two.
EXTRA_CHANNELS = (512, 256, 256, 128)

_DELETE = '_delete_'


def backbone_taps(backbone: Mapping[str, Any]) -> tuple[Tap, ...]:
    """The feature maps that a backbone returns.

    Args:
        backbone: Its dict in a config; the keys are those of ``MobileNetV3``.
    """
    return choose_taps(
        Network.of_backbone(backbone),
        backbone.get('out_taps'),
        backbone.get('out_indices'),
    )


def ssdlite_levels(
    taps: Sequence[int],
    extra_channels: Sequence[int] = EXTRA_CHANNELS,
    width: float = 1.0,
) -> tuple[int, ...]:
    """Channels of SSDLite's feature levels.

    Args:
        taps: Channels of the backbone's feature maps, which are the first levels.
        extra_channels: Of the levels that follow, at width 1.
        width: Their multiplier; each gets at least 16.

    Raises:
        UserError: For what are no positive numbers.
    """
    check_counts('in_channels', taps)
    check_counts('extra_channels', extra_channels)
    check_positive('width', width, WIDEST)
    return (*taps, *(max(16, int(width * channels)) for channels in extra_channels))


def follow_backbone(model: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Fits a config's neck and heads to its backbone.

    In a config that changes a base's network::

        _base_ = ['ssdlite_mnv3_large_coco.py']

        from mmnv3.arch import follow_backbone

        model = follow_backbone(_base_.model, backbone=dict(arch='v2', width=0.5))

    (``_base_`` has to come first, be it an empty list, since an import before it makes
    a config one of mmengine's lazy kind.)

    ``in_channels`` of neck and heads always follow, and so does ``output_stride`` of
    our segmentation heads. ``hidden_channels`` and ``act`` of ``MobileNetV3ClsHead``
    follow where the backbone changes or they are not given. A neck of another project
    gets its ``in_channels``; what comes out of it is its own affair.

    Args:
        model: The model of a config, or of its base. It stays as it is.
        **changes: What a child config changes in it, by parts: ``backbone=dict(...)``
            and others; ``_delete_`` as everywhere in mmengine.

    Returns:
        With changes, these and what follows from them, for mmengine to merge into the
        base. Without, the model.

    Raises:
        UserError: When there is no such network.
    """
    for name, change in changes.items():
        if not isinstance(change, Mapping | list | tuple | None):
            raise UserError(f'{name}={change!r} is no part of a model; give a dict')
    merged = _merge(model, changes)
    if not isinstance(merged.get('backbone'), Mapping):
        raise UserError(
            'the model has no backbone to follow; give backbone=dict(...), or name the '
            "base's model, as _base_.model"
        )
    follows = fit_to_taps(merged, backbone_taps(merged['backbone']))
    if _name(merged.get('head') or {}) == 'MobileNetV3ClsHead':
        follows['head'] = {**follows.get('head', {}), **_last_stage(merged, changes)}
    return _merge(changes or model, follows)


def fit_to_taps(model: Mapping[str, Any], taps: Sequence[Tap]) -> dict[str, Any]:
    """What neck and heads have to be told of the backbone's feature maps.

    Args:
        model: The model of a config.
        taps: The feature maps, as of :func:`backbone_taps`.

    Returns:
        Changes by parts of the model: dicts to merge, and whole lists where a part is
        one of several heads.

    Raises:
        UserError: When a head takes a feature map that there is not.
    """
    channels = tuple(tap.channels for tap in taps)
    levels: tuple[int, ...] | None = channels
    found: dict[str, Any] = {}
    neck = model.get('neck') or {}
    if _name(neck) == 'SSDLiteNeck':
        found['neck'] = dict(in_channels=channels)
        options = {k: neck[k] for k in ('extra_channels', 'width') if k in neck}
        levels = ssdlite_levels(channels, **options)
    elif 'in_channels' in neck:
        # FPN takes no tuple.
        found['neck'] = dict(in_channels=list(channels))
        levels = None
    if model.get('bbox_head') and levels:
        found['bbox_head'] = dict(in_channels=levels)
    if model.get('head') and levels:
        found['head'] = dict(in_channels=channels[-1])
    for name in ('decode_head', 'auxiliary_head'):
        heads = model.get(name)
        if isinstance(heads, list | tuple):
            found[name] = [{**head, **_segmenter(head, taps)} for head in heads]
        elif heads:
            found[name] = _segmenter(heads, taps)
    return found


def _last_stage(
    merged: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """What the efficient last stage of a network says about the classifier's head."""
    hidden = Network.of_backbone(merged['backbone']).spec.head
    follows: dict[str, Any] = dict(hidden_channels=hidden and hidden.out)
    if hidden:
        follows['act'] = hidden.act
    said = changes.get('head', {})
    return {
        key: value
        for key, value in follows.items()
        if key not in merged['head'] or ('backbone' in changes and key not in said)
    }


def _segmenter(head: Mapping[str, Any], taps: Sequence[Tap]) -> dict[str, Any]:
    """What a head takes of the taps, one of them or several."""
    several = _name(head) == 'LRASPPHead' or not isinstance(
        head.get('in_channels', 0), int
    )
    index = head.get('in_index', (0, 1) if several else -1)
    try:
        chosen = [taps[i] for i in (index if several else [index])]
        if not chosen:
            raise IndexError
    except (IndexError, TypeError):
        raise UserError(
            f'{head.get("type")} takes the feature maps in_index={index!r} and the '
            f'backbone returns {len(taps)}; name more in out_taps'
        ) from None
    channels = tuple(tap.channels for tap in chosen)
    found: dict[str, Any] = dict(in_channels=channels if several else channels[0])
    if head.get('type') in ('mmnv3.LRASPPHead', 'mmnv3.RASPPHead'):
        found['output_stride'] = chosen[-1].reduction
    return found


def _name(part: Mapping[str, Any]) -> str:
    """The class of a part of a model, without its scope."""
    return str(part.get('type')).split('.')[-1]


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merges as mmengine does; marks of deletion in the base stay for it to see."""
    merged = {key: copy.deepcopy(value) for key, value in base.items()}
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, Mapping):
            kept = old if isinstance(old, Mapping) and not value.get(_DELETE) else {}
            value = _merge(kept, {k: v for k, v in value.items() if k != _DELETE})
        merged[key] = value
    return merged
