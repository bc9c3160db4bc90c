"""A detector as TensorFlow's converter writes it for LiteRT: folded, without names."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor

from mmnv3.convert import read_state, to_ours
from mmnv3.convert.differences import check_against
from mmnv3.convert.formats import FORMATS
from mmnv3.convert.naming import Part
from mmnv3.convert.tensorflow import from_variables
from mmnv3.engine.build import build_model
from mmnv3.errors import Remark, UserError
from tests.convert.test_frozen_graph import CONFIGS, Sample

EPS = 1e-3
CODES = ('CONV_2D', 'DEPTHWISE_CONV_2D', 'RESHAPE', 'CONCATENATION', 'LOGISTIC')


class Writer:
    """Makes a LiteRT file, operator by operator."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        for name in CODES:
            code = schema.OperatorCodeT()
            # As files of that time have it.
            code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
            self.model.operatorCodes.append(code)
        end = schema.OperatorCodeT()
        end.builtinCode = schema.BuiltinOperator.CUSTOM
        end.customCode = b'TFLite_Detection_PostProcess'
        self.model.operatorCodes.append(end)
        self.model.subgraphs = [self.graph]

    def tensor(self, values: np.ndarray | None = None) -> int:
        tensor = schema.TensorT()
        tensor.type = schema.TensorType.FLOAT32
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(
                np.ascontiguousarray(values, '<f4').tobytes(), np.uint8
            )
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
            tensor.shape = np.array(values.shape, np.int32)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add(self, code: int, *inputs: int) -> int:
        operator = schema.OperatorT()
        operator.opcodeIndex = code
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([self.tensor()], np.int32)
        self.graph.operators.append(operator)
        return int(operator.outputs[0])

    def conv(self, x: int, kernel: Tensor, bias: Tensor) -> int:
        depthwise = kernel.shape[1] == 1 and kernel.shape[-1] > 1
        axes = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
        weights = self.tensor(kernel.permute(axes).numpy())
        return self.add(int(depthwise), x, weights, self.tensor(bias.numpy()))

    def write(self, path: Path) -> None:
        builder = flatbuffers.Builder()
        builder.Finish(self.model.Pack(builder), b'TFL3')
        path.write_bytes(builder.Output())


def fold(given: dict[str, Tensor], part: Part) -> tuple[Tensor, Tensor]:
    """A kernel and bias with the normalisation in them, as the converter does it."""
    kernel = given[f'{part.conv}.weight']
    if not part.norm:
        return kernel, given[f'{part.conv}.bias']
    weight, bias, mean, var = (
        given[f'{part.norm}.{name}'].double()
        for name in ('weight', 'bias', 'running_mean', 'running_var')
    )
    scale = weight / (var + EPS).sqrt()
    return (kernel * scale[:, None, None, None]).float(), (bias - mean * scale).float()


@pytest.fixture(scope='module')
def sample() -> Sample:
    return Sample('detector', 0.05)


def write_detector(path: Path, sample: Sample, levels: int = 6) -> None:
    """Writes an SSDLite; heads follow the maps that they are made of."""
    form = next(
        f for f in FORMATS if f.project == 'tensorflow' and f.task == 'detection'
    )
    spec = build_model(*CONFIGS['detector']).backbone.spec
    given = from_variables(sample.variables)
    parts = {part.ours: part for part in form.parts(spec, None)}
    writer = Writer()
    x = writer.tensor()
    found: dict[str, list[int]] = {'reg_convs': [], 'cls_convs': []}

    def predict(feature: int) -> None:
        for head, joined in found.items():
            name = f'bbox_head.{head}.{len(joined)}'
            out = writer.conv(feature, *fold(given, parts[f'{name}.0']))
            out = writer.conv(out, *fold(given, parts[f'{name}.1']))
            joined.append(writer.add(2, out))

    backbone = [name for name in parts if name.startswith('backbone.')]
    # C4 is the expansion of the block that has stride 32.
    tap = 'backbone.block9.expand'
    assert tap in backbone
    for name in backbone:
        x = writer.conv(x, *fold(given, parts[name]))
        if name == tap:
            predict(x)
    predict(x)
    for name in [name for name in parts if name.startswith('neck.')]:
        x = writer.conv(x, *fold(given, parts[name]))
        if name.endswith('pointwise_conv'):
            predict(x)
    boxes, scores = (writer.add(3, *joined[:levels]) for joined in found.values())
    writer.add(len(CODES), boxes, writer.add(4, scores), writer.tensor())
    writer.write(path)


@torch.no_grad()
def test_a_detector_computes_the_same(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / 'model.tflite'
    write_detector(path, sample)
    config, options = CONFIGS['detector']
    theirs = build_model(config, options)
    theirs.load_state_dict(sample.state)
    ours = build_model(config, options, str(path))
    x = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for head in range(2):
        for found, wanted in zip(
            ours.bbox_head(ours.extract_feat(x))[head],
            theirs.bbox_head(theirs.extract_feat(x))[head],
        ):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert str(to_ours(read_state(path), 'tflite').network) == (
        'tflite detection: small at width 1, detection tail, 91 classes'
    )


def test_it_wants_the_eps_that_it_is_converted_for(
    sample: Sample, tmp_path: Path
) -> None:
    """With another each layer would scale by a part in a thousand."""
    path = tmp_path / 'model.tflite'
    write_detector(path, sample)
    config, options = CONFIGS['detector']
    options = {**options, 'model.backbone.norm_cfg.eps': 1e-5}
    line = r'is converted for eps=0\.001 in .* config has 1e-05; set norm_cfg=dict'
    with pytest.warns(Remark, match=line):
        model = build_model(config, options, str(path))
    with pytest.raises(UserError, match=rf'{line}.*; nothing was converted'):
        check_against(to_ours(read_state(path), 'tflite'), path, model)


def test_one_with_fewer_maps_is_refused(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / 'model.tflite'
    write_detector(path, sample, levels=5)
    with pytest.raises(UserError, match='is a detector, and not an SSDLite'):
        read_state(path)
