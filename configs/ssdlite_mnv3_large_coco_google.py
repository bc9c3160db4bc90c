"""The detector that Google published, V3-Large: for its converted weights.

Source: ssd_mobilenet_v3_large_coco_2020_01_14 of the TensorFlow detection model zoo,
and its pipeline config. Gates and resizing are TensorFlow's; all else is as in
ssdlite_mnv3_large_coco.py.
"""

_base_ = ['ssdlite_mnv3_large_coco.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(gate='hsigmoid_tf'))

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmnv3.ResizeTF', scale=(320, 320)),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
tta_pipeline = [*test_pipeline[:-1], _base_.tta_pipeline[-1]]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
