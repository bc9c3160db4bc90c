"""Registries of scope `mmnv3`, one per kind of component.

Each is a child of mmengine's root, so `type='mmnv3.X'` resolves under the default
scope of any toolbox: mmengine imports this module for the scope, and the registry
imports its `locations` for the name. No config needs `custom_imports`.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(
        parent.name, parent=parent, scope='mmnv3', locations=list(locations)
    )


MODELS = _child(
    MMENGINE_MODELS,
    'mmnv3.models.backbone',
    'mmnv3.models.classifier',
    'mmnv3.models.lraspp',
    'mmnv3.models.ssdlite',
    'mmnv3.deploy.exported_model',
)
TASK_UTILS = _child(MMENGINE_TASK_UTILS, 'mmnv3.models.ssdlite')
DATASETS = _child(MMENGINE_DATASETS, 'mmnv3.datasets')
TRANSFORMS = _child(MMENGINE_TRANSFORMS, 'mmnv3.datasets')
HOOKS = _child(MMENGINE_HOOKS, 'mmnv3.engine')
VISUALIZERS = _child(MMENGINE_VISUALIZERS, 'mmnv3.engine')
METRICS = _child(MMENGINE_METRICS, 'mmnv3.engine')
OPTIM_WRAPPERS = _child(MMENGINE_OPTIM_WRAPPERS, 'mmnv3.engine.bfloat16')
OPTIMIZERS = _child(MMENGINE_OPTIMIZERS, 'mmnv3.engine.rmsprop_tf')
WEIGHT_INITIALIZERS = _child(MMENGINE_WEIGHT_INITIALIZERS, 'mmnv3.convert.pretrained')
