"""The operators that PyTorch exports by are parsed once, and stay what they are."""

import pytest


def test_operators_are_parsed_once() -> None:
    pytest.importorskip('onnxscript', reason='onnxscript is not installed')
    from torch.onnx._internal._lazy_import import onnxscript_apis

    kept = onnxscript_apis.get_torchlib_ops()
    assert onnxscript_apis.get_torchlib_ops() is kept
    parsed = onnxscript_apis.get_torchlib_ops.__wrapped__()
    assert [op.qualified_name for op in parsed] == [op.qualified_name for op in kept]
    assert all(a.function is b.function for a, b in zip(parsed, kept))
