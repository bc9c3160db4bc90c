"""TensorFlow's variables, and the outputs that its own code computed with them.

The outputs are of tensorflow/models (April 2020) with random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmnv3.arch import Network
from mmnv3.convert import from_ours, to_ours
from mmnv3.convert.tensorflow import from_variables, to_variables
from mmnv3.deploy.export import FORMATS, export_config
from mmnv3.deploy.predictor import Predictor
from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import write_checkpoint
from mmnv3.errors import UserError
from mmnv3.models.ssdlite import flatten_maps
from mmnv3.resizing import resize_tf
from mmnv3.size import Size

SHARED = next(
    (path for path in (Path('data'), Path('../shared/data')) if path.is_dir()),
    Path('data'),
)
DATA = SHARED / 'tensorflow'
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f'no outputs of TensorFlow in {DATA}'
)
CONFIGS = {
    'ssdlite_large': 'configs/ssdlite_mnv3_large_coco_google.py',
    'ssdlite_small': 'configs/ssdlite_mnv3_small_coco_google.py',
    'lraspp_large': 'configs/lraspp_mnv3_large_cityscapes_google.py',
    'lraspp_small': 'configs/lraspp_mnv3_small_cityscapes_google.py',
}
# All that the original has; the config leaves out those that COCO never used.
CLASSES = {'model.bbox_head.num_classes': 90}


def read_variables(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(DATA / name / 'variables.npz'))


def read_rgb(name: str) -> np.ndarray:
    if name == 'synthetic':
        cells = np.random.RandomState(0).randint(0, 256, (12, 16, 3))
        return np.kron(cells, np.ones((40, 40, 1), int)).astype(np.uint8)
    return np.asarray(Image.open(SHARED / name).convert('RGB'))


class Shot(NamedTuple):
    """A picture and what the original made of it."""

    rgb: np.ndarray
    outputs: dict[str, np.ndarray]


def read_shots(name: str) -> list[Shot]:
    shots = []
    for path in sorted((DATA / name).glob('reference*.npz')):
        found = np.load(path)
        for index in ('0', '1'):
            outputs = {
                key.removesuffix(f'_{index}'): found[key]
                for key in found
                if key.endswith(f'_{index}')
            }
            shots.append(Shot(read_rgb(str(outputs['image'])), outputs))
    return shots


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory):
    """Writes a converted checkpoint once."""
    folder = tmp_path_factory.mktemp('tensorflow')

    def convert(name: str) -> str:
        path = folder / f'{name}.pth'
        if not path.exists():
            state = to_ours(from_variables(read_variables(name)), 'tensorflow').state
            write_checkpoint(path, state)
        return str(path)

    return convert


@pytest.fixture(scope='module')
def model(checkpoint):
    """Builds a config's model with converted weights once."""
    built: dict[str, nn.Module] = {}

    def build(name: str) -> nn.Module:
        if name not in built:
            options = CLASSES if name.startswith('ssdlite') else None
            built[name] = build_model(CONFIGS[name], options, checkpoint(name))
        return built[name]

    return build


def test_names_and_axes_by_hand() -> None:
    kernel = np.arange(2 * 2 * 3 * 4, dtype=np.float32).reshape(2, 2, 3, 4)
    depthwise = np.arange(18, dtype=np.float32).reshape(3, 3, 2, 1)
    extra = 'FeatureExtractor/MobilenetV3/layer_17_2_Conv2d_3_3x3_s2_256'
    state = from_variables(
        {
            'a/weights': kernel,
            'a/BatchNorm/moving_variance': np.ones(4),
            f'{extra}_depthwise/depthwise_weights': depthwise,
            'image_pooling/biases': np.zeros(2),
            'global_step': np.array(7),
        }
    )
    assert list(state) == [
        'a.weight',
        'a/BatchNorm.running_var',
        'FeatureExtractor/MobilenetV3/extra_3_2_depthwise.weight',
        'image_pooling.bias',
    ]
    assert state['a.weight'].shape == (4, 3, 2, 2)
    assert state['a.weight'][3, 1, 0, 1] == kernel[0, 1, 1, 3]
    other = state['FeatureExtractor/MobilenetV3/extra_3_2_depthwise.weight']
    assert other.shape == (2, 1, 3, 3) and other[1, 0, 2, 0] == depthwise[2, 0, 1, 0]


@pytest.mark.parametrize('config', [CONFIGS['ssdlite_small'], CONFIGS['lraspp_large']])
def test_our_checkpoints_come_back_from_their_names(config: str) -> None:
    state = build_model(config).state_dict()
    state = {key: value + torch.rand(value.shape) for key, value in state.items()
             if not key.endswith('tracked')}  # fmt: skip
    variables = to_variables(from_ours(state, 'tensorflow').state)
    if 'small_coco' in config:
        scope = 'FeatureExtractor/MobilenetV3/layer_13_2_Conv2d_5_3x3_s2_128_depthwise'
        assert variables[f'{scope}/depthwise_weights'].shape == (3, 3, 64, 1)
        assert variables['BoxPredictor_0/ClassPredictor/biases'].shape == (3 * 81,)
    back = to_ours(from_variables(variables), 'tensorflow').state
    assert {key for key in back if not key.endswith('tracked')} == set(state)
    assert all(torch.equal(back[key], value) for key, value in state.items())


def test_torchvisions_layout_has_no_place_there() -> None:
    state = build_model('configs/ssdlite_mnv3_large_coco_tv.py').state_dict()
    with pytest.raises(UserError, match='tensorflow has no network that could hold'):
        from_ours(state, 'tensorflow')


def test_configs_say_what_the_weights_need() -> None:
    backbone = dict(arch='large', gate='hsigmoid_tf')
    gates = {b.se.gate for b in Network.of_backbone(backbone).spec.blocks if b.se}
    assert gates == {'hsigmoid_tf'}


@needs_data
@pytest.mark.parametrize('name', [*CONFIGS, 'cls_small'])
def test_variables_come_back_to_the_number(name: str) -> None:
    variables = read_variables(name)
    converted = to_ours(from_variables(variables), 'tensorflow')
    back = to_variables(from_ours(converted.state, 'tensorflow').state)
    assert set(back) == set(variables)
    for key, value in variables.items():
        if 'ClassPredictor/' in key:
            # The background is a class that nothing reads; ours has none.
            rows = value.reshape(*value.shape[:-1], -1, 91)[..., 1:]
            found = back[key].reshape(*value.shape[:-1], -1, 91)[..., 1:]
            np.testing.assert_array_equal(found, rows)
        else:
            np.testing.assert_array_equal(back[key], value)


@needs_data
@torch.no_grad()
@pytest.mark.parametrize('name', ['ssdlite_large', 'ssdlite_small'])
def test_a_detectors_outputs_are_the_originals(model, name: str) -> None:
    detector = model(name)
    sizes = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    anchors = detector.bbox_head.prior_generator.grid_priors(sizes, device='cpu')
    reference = np.load(next((DATA / name).glob('reference*.npz')))['anchors']
    np.testing.assert_allclose(
        torch.cat(anchors)[:, [1, 0, 3, 2]] / 320, reference, atol=2e-7
    )
    # In double precision, so that only the original's own rounding is left: in single
    # the farthest logit, of ±18, is 3.9e-4 to 6.0e-4 away, as the order of sums falls.
    detector.double()
    for shot in read_shots(name):
        np.testing.assert_allclose(
            resize_tf(shot.rgb, Size(320, 320)) / 127.5 - 1,
            shot.outputs['preprocessed'],
            atol=0.01 / 127.5,
        )
        x = torch.from_numpy(shot.outputs['preprocessed']).permute(2, 0, 1)[None]
        logits, boxes = detector.bbox_head(detector.extract_feat(x.double()))
        np.testing.assert_allclose(
            flatten_maps(logits, 90)[0],
            shot.outputs['raw_class_predictions'][:, 1:],
            atol=5e-4,
        )
        np.testing.assert_allclose(
            flatten_maps(boxes, 4)[0][:, [1, 0, 3, 2]],
            shot.outputs['raw_box_encodings'],
            atol=5e-4,
        )
    detector.float()


def check_detections(found, shot: Shot, scores: float, boxes: float) -> None:
    """Compares all detections: in their order where scores differ by more than noise.

    Args:
        found: Our detections.
        shot: The picture and the original's.
        scores: Largest difference of scores.
        boxes: Largest difference of boxes, of the picture's sides.
    """
    height, width = shot.rgb.shape[:2]
    theirs = shot.outputs['detection_boxes'][:, [1, 0, 3, 2]]
    labels = shot.outputs['detection_classes'] - 1
    assert len(found.boxes) == shot.outputs['num_detections'] == 100
    left = set(range(100))
    for box, score, label in zip(found.boxes, found.scores, found.labels):
        box = box / (width, height, width, height)
        nearest = min(
            (at for at in left if labels[at] == label),
            key=lambda at: np.abs(theirs[at] - box).max(),
        )
        assert np.abs(theirs[nearest] - box).max() < boxes
        assert abs(shot.outputs['detection_scores'][nearest] - score) < scores
        left.remove(nearest)
    assert not left
    np.testing.assert_allclose(
        found.scores, shot.outputs['detection_scores'], atol=scores
    )


@needs_data
@pytest.mark.parametrize('name', ['ssdlite_large', 'ssdlite_small'])
def test_all_detections_are_the_originals(checkpoint, name: str) -> None:
    predictor = Predictor(CONFIGS[name], checkpoint(name), options=CLASSES)
    for shot in read_shots(name):
        found = predictor(np.ascontiguousarray(shot.rgb[..., ::-1]))
        check_detections(found, shot, 1e-4, 1e-4)


@needs_data
@torch.no_grad()
@pytest.mark.parametrize('name', ['ssdlite_large', 'ssdlite_small'])
def test_so_are_those_of_mmdets_own_way(model, name: str) -> None:
    detector = model(name)
    for shot in read_shots(name)[:1]:
        height, width = shot.rgb.shape[:2]
        x = torch.from_numpy(shot.outputs['preprocessed']).permute(2, 0, 1)[None]
        meta = dict(
            img_shape=(320, 320),
            batch_input_shape=(320, 320),
            scale_factor=(320 / width, 320 / height),
        )
        maps = detector.bbox_head(detector.extract_feat(x))
        found = detector.bbox_head.predict_by_feat(
            *maps, batch_img_metas=[meta], rescale=True
        )[0]
        found.boxes = found.bboxes.numpy()
        found.scores, found.labels = found.scores.numpy(), found.labels.numpy()
        check_detections(found, shot, 1e-4, 1e-4)


@needs_data
@pytest.mark.slow  # Exports two detectors, half a minute each.
@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino', 'litert'])
@pytest.mark.parametrize('name', ['ssdlite_large', 'ssdlite_small'])
def test_runtimes_find_them_too(checkpoint, name: str, backend: str) -> None:
    pytest.importorskip('litert_torch' if backend == 'litert' else backend)
    predictor = Predictor(CONFIGS[name], checkpoint(name), backend, options=CLASSES)
    for shot in read_shots(name):
        found = predictor(np.ascontiguousarray(shot.rgb[..., ::-1]))
        check_detections(found, shot, 1e-3, 1e-3)


@needs_data
@pytest.mark.slow  # As above.
@pytest.mark.parametrize('kind', ['onnx', 'openvino'])
@pytest.mark.parametrize('name', ['ssdlite_large', 'ssdlite_small'])
def test_so_do_files_that_suppress_inside(
    checkpoint, name: str, kind: str, tmp_path: Path
) -> None:
    pytest.importorskip(kind)
    file = tmp_path / f'a{FORMATS[kind].suffixes[0]}'
    export_config(
        CONFIGS[name], checkpoint(name), file, kind, options=CLASSES, postprocess=True
    )
    predictor = Predictor(file)
    assert predictor.info.postprocessed
    for shot in read_shots(name):
        found = predictor(np.ascontiguousarray(shot.rgb[..., ::-1]))
        check_detections(found, shot, 1e-3, 1e-3)


@needs_data
@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'tag'),
    [
        pytest.param('lraspp_large', '1025x2049', marks=pytest.mark.slow),
        ('lraspp_large', '897x1025'),
        pytest.param('lraspp_small', '1025x2049', marks=pytest.mark.slow),
        ('lraspp_small', '897x1025'),
    ],
)
def test_a_segmenters_outputs_are_the_originals(model, name: str, tag: str) -> None:
    segmenter = model(name)
    reference = np.load(DATA / name / 'reference.npz')
    rgb = read_rgb(f'tensorflow/lraspp_large/{reference[f"input_{tag}"]}')
    height, width = map(int, tag.split('x'))
    padded = np.zeros((height, width, 3), np.float32)
    padded[: rgb.shape[0], : rgb.shape[1]] = rgb / np.float32(127.5) - 1
    x = torch.from_numpy(padded).permute(2, 0, 1)[None]
    maps = segmenter.decode_head(segmenter.extract_feat(x))
    logits = maps.permute(0, 2, 3, 1).numpy()
    if f'logits_{tag}' in reference:
        np.testing.assert_allclose(logits, reference[f'logits_{tag}'], atol=1e-3)
    else:
        every2 = reference[f'logits_{tag}_every2']
        np.testing.assert_allclose(logits[:, ::2, ::2], every2, atol=1e-3)


@needs_data
@pytest.mark.parametrize('name', ['lraspp_large', 'lraspp_small'])
def test_a_pictures_labels_are_the_originals(checkpoint, name: str) -> None:
    check_labels(checkpoint(name), name, '897x1025', 'pytorch')


@needs_data
@pytest.mark.slow  # Whole street scenes, and exports of segmenters.
@pytest.mark.parametrize('backend', ['pytorch', 'onnxruntime', 'openvino'])
@pytest.mark.parametrize('name', ['lraspp_large', 'lraspp_small'])
def test_so_are_those_of_whole_scenes(checkpoint, name: str, backend: str) -> None:
    for tag in ('897x1025', '1025x2049'):
        check_labels(checkpoint(name), name, tag, backend)


def check_labels(checkpoint: str, name: str, tag: str, backend: str) -> None:
    reference = np.load(DATA / name / 'reference.npz')
    rgb = read_rgb(f'tensorflow/lraspp_large/{reference[f"input_{tag}"]}')
    size = tuple(map(int, tag.split('x')))
    options = {'model.data_preprocessor.test_cfg.size': size}
    predictor = Predictor(CONFIGS[name], checkpoint, backend, options=options)
    found = predictor(np.ascontiguousarray(rgb[..., ::-1])).mask
    assert (found == reference[f'predictions_{tag}']).mean() >= 0.9999


@needs_data
@torch.no_grad()
def test_a_classifiers_outputs_are_the_originals() -> None:
    converted = to_ours(from_variables(read_variables('cls_small')), 'tensorflow')
    options = {'model.backbone.gate': 'hsigmoid_tf', 'model.head.num_classes': 1001}
    classifier = build_model('configs/mnv3_small_imagenet.py', options)
    classifier.load_state_dict(converted.state)
    reference = np.load(DATA / 'cls_small' / 'reference.npz')
    x = torch.from_numpy(reference['images']).permute(0, 3, 1, 2) / 127.5 - 1
    logits = classifier(x.float(), mode='tensor')
    np.testing.assert_allclose(logits, reference['logits'], atol=5e-4)
