"""Code that is hidden in a `.pt2` file is not run."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mmnv3.deploy.runtime import load_runtime
from mmnv3.errors import UserError
from tests.deploy.tiny import INFO, TinyGraph, write_tiny

RAN: list[str] = []


def run(name: str) -> torch.Tensor:
    RAN.append(name)
    return torch.zeros(1)


class Bomb:
    def __reduce__(self) -> tuple:
        return run, ('pickle',)


def pickled() -> bytes:
    out = io.BytesIO()
    torch.save(Bomb(), out)
    return out.getvalue()


@pytest.fixture(scope='module')
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp('tiny'), 'pytorch')


def changed(file: Path, out: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Another archive; `change` sees its members without the folder that all are in."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        members = {n.partition('/')[2]: archive.read(n) for n in names}
    change(members)
    with zipfile.ZipFile(out, 'w') as archive:
        for name, content in members.items():
            archive.writestr(f'tiny/{name}', content)
    return out


def edit(members: dict[str, bytes], name: str, change: Callable[[dict], None]) -> None:
    value = json.loads(members[name])
    change(value)
    members[name] = json.dumps(value).encode()


def weights(members: dict[str, bytes]) -> None:
    def mark(listed: dict) -> None:
        listed['config']['conv.weight']['use_pickle'] = True

    edit(members, 'data/weights/model_weights_config.json', mark)
    members['data/weights/weight_0'] = pickled()


def constant(members: dict[str, bytes]) -> None:
    def add(listed: dict) -> None:
        listed['config']['x'] = dict(
            path_name='opaque_obj_0', is_param=False, use_pickle=True, tensor_meta=None
        )

    edit(members, 'data/constants/model_constants_config.json', add)
    members['data/constants/opaque_obj_0'] = pickle.dumps(Bomb())


def example(members: dict[str, bytes]) -> None:
    members['data/sample_inputs/model.pt'] = pickled()


def old_weights(members: dict[str, bytes]) -> None:
    members['data/weights/model.pt'] = pickled()


def library(members: dict[str, bytes]) -> None:
    members['data/aotinductor/model/model.so'] = b'\x7fELF'


def in_graph(change: Callable[[dict], None]) -> Callable[[dict[str, bytes]], None]:
    return lambda members: edit(members, 'models/model.json', change)


def guards(program: dict) -> None:
    program['guards_code'] = ['__import__("tests").x']


def expression(program: dict) -> None:
    values = program['graph_module']['graph']['tensor_values']
    text = f'__import__("{__name__}", fromlist=["run"]).run("expression")'
    size = {'as_expr': {'expr_str': text, 'hint': None}}
    values['image']['sizes'][0] = size


def function(program: dict) -> None:
    program['graph_module']['graph']['nodes'][0]['target'] = 'torch.os.system'


def opens_a_file(program: dict) -> None:
    node = program['graph_module']['graph']['nodes'][0]
    node['target'] = 'torch.ops.aten.from_file.default'
    node['inputs'][0]['arg'] = {'as_string': '/etc/passwd'}


def container(program: dict) -> None:
    signature = program['graph_module']['module_call_graph'][0]['signature']
    signature['in_spec'] = signature['in_spec'].replace(
        'builtins.tuple', 'collections.defaultdict'
    )


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (weights, 'the pickled tensor conv.weight'),
        (constant, r'(opaque_obj_0|tensor x)'),
        (example, 'the pickled objects'),
        (old_weights, 'the pickled objects'),
        (library, 'model.so'),
        (in_graph(guards), 'code of guards'),
        (in_graph(expression), 'the expression __import__'),
        (in_graph(function), 'the operator torch.os.system'),
        (in_graph(opens_a_file), "the text '/etc/passwd'"),
        (in_graph(container), 'the container collections.defaultdict'),
    ],
)
def test_what_could_run_code_is_refused(file, tmp_path, change, said) -> None:
    RAN.clear()
    hostile = changed(file, tmp_path / 'hostile.pt2', change)
    with pytest.raises(UserError, match=f'hostile.pt2 holds .*{said}') as error:
        load_runtime(hostile)
    assert 'could run code' in str(error.value) and '\n' not in str(error.value)
    assert not RAN


def test_these_files_do_run_code_elsewhere(file, tmp_path) -> None:
    """Or the test above would show nothing."""
    RAN.clear()
    hostile = changed(file, tmp_path / 'hostile.pt2', weights)
    with pytest.raises(Exception):  # noqa: B017 - after it has run.
        torch.export.load(hostile)
    assert RAN == ['pickle']


def test_a_second_member_of_a_name_is_not_what_is_loaded(file, tmp_path) -> None:
    """Readers differ in which of two they take."""
    RAN.clear()
    out = changed(file, tmp_path / 'twice.pt2', lambda members: None)
    with (
        zipfile.ZipFile(out, 'a') as archive,
        pytest.warns(UserWarning, match='Duplicate name'),
    ):
        archive.writestr('tiny/data/sample_inputs/model.pt', pickled())
    with pytest.raises(UserError, match='the pickled objects'):
        load_runtime(out)
    assert not RAN


def test_what_was_looked_at_computes_the_same(file) -> None:
    x = np.random.default_rng(0).standard_normal(INFO.input_shape).astype(np.float32)
    runtime = load_runtime(file)
    expected = TinyGraph()(torch.from_numpy(x))
    assert runtime.info == INFO
    for ours, theirs in zip(runtime(x).values(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_files_of_older_pytorch_are_looked_at_too(tmp_path) -> None:
    from torch._export.serde.serialize import serialize

    program = torch.export.export(TinyGraph(), (TinyGraph().example(),))
    artifact = serialize(program)

    def write(path: Path, constants: bytes) -> Path:
        members = {
            'version': b'8.1',
            'serialized_exported_program.json': artifact.exported_program,
            'serialized_state_dict.pt': artifact.state_dict,
            'serialized_constants.pt': constants,
            'serialized_example_inputs.pt': artifact.example_inputs,
            'extra_files/mmnv3.json': json.dumps(INFO.to_strings()).encode(),
        }
        with zipfile.ZipFile(path, 'w') as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    RAN.clear()
    good = load_runtime(write(tmp_path / 'good.pt2', artifact.constants))
    assert good.info == INFO
    with pytest.raises(UserError, match=r'pickled objects serialized_constants\.pt'):
        load_runtime(write(tmp_path / 'bad.pt2', pickled()))
    assert not RAN
