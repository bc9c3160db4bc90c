"""The networks that are written at once are those that PyTorch's exporter writes."""

from pathlib import Path

import pytest

from mmnv3.arch.layers import Layer
from mmnv3.deploy.export import export_graph
from mmnv3.deploy.graph import PlainGraph, plain_info
from mmnv3.search.latency.probes import LayerGraph, input_shape, onnx_model


@pytest.mark.parametrize('gate', ['hsigmoid', 'hsigmoid_tf'])
def test_same_operations(tmp_path: Path, gate: str) -> None:
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxscript')
    layer = Layer('squeeze_excite', 16, 16, 8, 8, act=gate, hidden=8)
    graph = PlainGraph(LayerGraph(layer, 2), input_shape(layer))
    info = plain_info(graph)
    export_graph(graph, info, tmp_path / 'layer.onnx', 'onnx')
    exported = onnx.load(tmp_path / 'layer.onnx')
    written = onnx_model(layer, 2, False, info)
    onnx.checker.check_model(written, full_check=True)

    def operations(model: object) -> list[str]:
        names = [node.op_type for node in model.graph.node]
        # The outputs of several probes are flattened on their way into one.
        return names[: -names[::-1].index('Conv')]

    assert sorted(operations(written)) == sorted(operations(exported))
