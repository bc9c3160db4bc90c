"""The one name that needs no `mmnv3.` prefix in mmdet configs: `MobileNetV3`.

mmdet's model registry imports this module by itself (see `mmnv3/__init__.py`). mmseg
and mmpretrain have a network of their own under that name, so nothing is done there.
"""

from mmdet.registry import MODELS

from mmnv3.models.backbone import MobileNetV3

# Whoever registered the name before, say a user's own project, keeps it: ours can
# still be had as `mmnv3.MobileNetV3`.
if 'MobileNetV3' not in MODELS.module_dict:
    MODELS.register_module(module=MobileNetV3)
