"""What lets today's PyTorch, NumPy, setuptools and transformers run OpenMMLab.

One file per upstream fault; each says what it covers and when it can go. Arranging
the fixes imports neither OpenMMLab nor torch: each is carried out when the module it
mends is imported.
"""

from mmnv3.compat import (
    checkpoints,
    installed_packages,
    mmcv_ext,
    onedl_load,
    onnxscript_operators,
    own_configs,
    torchao_warnings,
    transformers5,
    vis_backend,
)
from mmnv3.compat.after_import import after_import

_FIXES = (
    ('torch', checkpoints.load_mmengine),
    ('torch.utils._pytree', torchao_warnings.hide_enum_warnings),
    ('mmengine.config.config', own_configs.find_by_name),
    ('mmengine.hub.hub', own_configs.get_by_name),
    ('mmengine.logging.history_buffer', checkpoints.allow_runner_checkpoints),
    ('mmengine.runner.checkpoint', onedl_load.never_load_unsafely),
    ('mmengine.utils.package_utils', installed_packages.use_importlib_metadata),
    ('mmengine.visualization.vis_backend', vis_backend.write_encoded),
    ('onnxscript._framework_apis.torch_2_5', onnxscript_operators.parse_once),
    ('mmpretrain.utils.dependency', transformers5.leave_out_multimodal),
)


def apply() -> None:
    """Arranges all fixes. Called once, by `import mmnv3`."""
    mmcv_ext.offer_stand_in()
    for module, fix in _FIXES:
        after_import(module, fix)
