"""Opening files of every kind, comparing them, and finding the newest."""

import errno
import io
import logging
import math
import os
import pickle
import random
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR, OptimWrapper
from safetensors.torch import save_file

from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import (
    KeyDifferences,
    compare_states,
    compare_training,
    describe_older_anchors,
    find_resumable,
    read_checkpoint,
    write_checkpoint,
)
from mmnv3.errors import Remark, UserError
from tests.engine.conftest import ROOT
from tests.mutate import broken_value, mutate

DEMO = f'{ROOT}/configs/ssdlite_mnv3_small_demo.py'
STATE = dict(a=torch.arange(3.0), b=torch.ones(2, 2))


class Evil:
    """Runs a command when it is unpickled carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def same(found: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(STATE) and all(
        torch.equal(found[key], STATE[key]) for key in STATE
    )


@pytest.mark.parametrize(
    'content',
    [
        STATE,
        dict(state_dict=STATE, meta=dict(iter=3)),
        dict(model=STATE, epoch=4),
        dict(state_dict={f'module.{key}': value for key, value in STATE.items()}),
    ],
)
def test_files_of_all_layouts_are_read(content: dict, tmp_path: Path) -> None:
    torch.save(content, tmp_path / 'a.pth')
    state, meta = read_checkpoint(tmp_path / 'a.pth')
    assert same(state) and meta == content.get('meta', {})


def test_other_formats_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / 'a.safetensors')
    assert same(read_checkpoint(tmp_path / 'a.safetensors').state)
    torch.save(STATE, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert same(read_checkpoint(tmp_path / 'old.pth').state)


def test_layers_find_the_version_that_they_were_written_in(tmp_path: Path) -> None:
    state = torch.nn.Sequential(torch.nn.BatchNorm2d(1)).state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    found = read_checkpoint(tmp_path / 'a.pth').state
    assert found._metadata == state._metadata and found._metadata['0']['version'] == 2


def test_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(STATE, tmp_path / 'a.pth')
    assert same(read_checkpoint('~/a.pth').state)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / 'new' / 'a.pth', STATE, dict(epoch=2))
    state, meta = read_checkpoint(tmp_path / 'new' / 'a.pth')
    assert same(state) and meta == dict(epoch=2)
    write_checkpoint(tmp_path / 'bare.pth', STATE, bare=True)
    assert list(torch.load(tmp_path / 'bare.pth', weights_only=True)) == list(STATE)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space left'):
        write_checkpoint(tmp_path / 'a.pth', STATE)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A folder of files that are no checkpoints."""
    torch.save(dict(state_dict=STATE), tmp_path / 'whole.pth')
    whole = (tmp_path / 'whole.pth').read_bytes()
    (tmp_path / 'half.pth').write_bytes(whole[: len(whole) // 2])
    torch.save(STATE, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    whole = (tmp_path / 'old.pth').read_bytes()
    (tmp_path / 'old_half.pth').write_bytes(whole[:-3])
    save_file(STATE, tmp_path / 'whole.safetensors')
    whole = (tmp_path / 'whole.safetensors').read_bytes()
    (tmp_path / 'half.safetensors').write_bytes(whole[:-3])
    (tmp_path / 'empty.pth').touch()
    (tmp_path / 'text.pth').write_text('hello')
    torch.save(dict(state_dict=Evil(tmp_path / 'run')), tmp_path / 'evil.pth')
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'module.pth')
    (tmp_path / 'plain.pth').write_bytes(pickle.dumps(Evil(tmp_path / 'run')))
    torch.save([1], tmp_path / 'list.pth')
    torch.save(dict(state_dict={}, meta={}), tmp_path / 'none.pth')
    torch.save(dict(epoch=3), tmp_path / 'number.pth')
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('gone.pth', 'gone.pth: there is no such checkpoint'),
        ('.', ': there is no such checkpoint'),
        ('half.pth', 'half.pth cannot be read as a checkpoint, it may be damaged'),
        ('old_half.pth', 'old_half.pth cannot be read .*EOF'),
        ('half.safetensors', 'half.safetensors cannot be read'),
        ('empty.pth', r'empty.pth cannot be read .*\(EOFError'),
        ('text.pth', 'text.pth cannot be read'),
        ('evil.pth', r'evil.pth: not a file of weights only, it asks for posix\.mkdir'),
        ('module.pth', r'not a file of weights only, it asks for torch\.nn\.\S*Linear'),
        ('plain.pth', 'plain.pth: not a file of weights only; save its state_dict'),
        ('list.pth', 'list.pth holds no state dict; give a checkpoint of training'),
        ('none.pth', 'none.pth holds no state dict'),
        ('number.pth', 'number.pth holds no state dict'),
    ],
)
def test_other_files_are_refused_in_one_line(
    name: str, message: str, wrong: Path
) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_checkpoint(wrong / name)
    assert '\n' not in str(error.value) and '\x1b' not in str(error.value)
    assert str(error.value).startswith(str(wrong))
    assert not (wrong / 'run').exists()


def test_states_are_compared() -> None:
    assert not compare_states(STATE, dict(STATE))
    other = dict(a=torch.zeros(4), c=torch.zeros(1), d=torch.zeros(1))
    found = compare_states(STATE, other)
    assert found == KeyDifferences(('b',), ('c', 'd'), ('a is (4,), wanted (3,)',))
    assert len(found) == 4
    assert str(found) == (
        '1 of another shape (a is (4,), wanted (3,)); 1 missing in the file (b); '
        '2 unknown to the model (c, …)'
    )


@pytest.mark.parametrize('kind', ['int8', 'int64', 'bool', 'complex64'])
def test_only_floats_become_floats(kind: str) -> None:
    other = {**STATE, 'a': STATE['a'].to(getattr(torch, kind))}
    found = compare_states(STATE, other)
    assert found == KeyDifferences(mistyped=(f'a is {kind}, wanted float32',))
    assert str(found) == f'1 of another type (a is {kind}, wanted float32)'
    assert len(found) == 1


@pytest.mark.parametrize('kind', ['float16', 'bfloat16', 'float64'])
def test_floats_of_any_width_fit(kind: str) -> None:
    wanted = dict(STATE, count=torch.tensor(3))
    given = {key: value.to(getattr(torch, kind)) for key, value in wanted.items()}
    assert not compare_states(wanted, given)


def write_training(path: Path, **changes: object) -> Path:
    """Writes a checkpoint that a training can go on from; an entry of None goes."""
    number = int(path.stem.split('_')[-1]) if path.stem[-1].isdigit() else 3
    content = dict(
        state_dict=STATE,
        meta=dict(iter=number, epoch=0),
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        optimizer=dict(state={}, param_groups=[]),
    )
    content |= changes
    torch.save({key: value for key, value in content.items() if value}, path)
    return path


def test_the_newest_by_number_is_found(tmp_path: Path) -> None:
    assert find_resumable(tmp_path) is None
    for name in ('iter_9.pth', 'iter_10.pth'):
        write_training(tmp_path / name)
    for name in ('best_1.pth', 'iter_x.pth', 'iter_.pth', 'iter_².pth'):
        (tmp_path / name).touch()
    assert find_resumable(tmp_path) == tmp_path / 'iter_10.pth'
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(UserError, match='name the one to resume from'):
        find_resumable(tmp_path)


def test_damaged_ones_are_passed_over_and_named(tmp_path: Path) -> None:
    write_training(tmp_path / 'iter_2.pth')
    (tmp_path / 'iter_6.pth').write_bytes(b'PK')
    write_training(tmp_path / 'iter_4.pth', optimizer=None)
    with pytest.warns(Remark) as told:
        assert find_resumable(tmp_path) == tmp_path / 'iter_2.pth'
    first, second = (str(warning.message) for warning in told)
    assert re.search('iter_6.pth cannot be read .*; resuming from iter_2.pth$', first)
    assert 'iter_4.pth holds weights and not where training was' in second
    (tmp_path / 'iter_2.pth').unlink()
    with pytest.raises(UserError, match=r'no checkpoint of .* since .*iter_6.pth can'):
        find_resumable(tmp_path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(meta=None), 'holds weights and not where training was'),
        (dict(meta=[1]), 'holds weights and not where training was'),
        (dict(meta=dict(iter=3)), 'holds weights and not where training was'),
        (dict(optimizer=None), 'holds weights and not where training was'),
        (dict(meta=dict(iter='3', epoch=0)), r"meta\.iter is '3', and training cannot"),
        (dict(meta=dict(iter=True, epoch=0)), r'meta\.iter is True, and'),
        (dict(meta=dict(iter=3, epoch=-1)), r'meta\.epoch is -1, and'),
        (dict(message_hub=[3]), r'message_hub is \[3\], and'),
        (dict(message_hub=None), 'message_hub is None, and'),
        (dict(message_hub=dict(log_scalars=3)), r'message_hub\.log_scalars is 3, and'),
        (dict(optimizer=[1]), r'optimizer is \[1\], and'),
        (dict(meta=dict(iter=3, epoch=0, seed='x')), r"meta\.seed is 'x', and"),
        (dict(meta=dict(iter=3, epoch=0, seed=-1)), r'meta\.seed is -1, and'),
    ],
)
def test_a_training_goes_on_only_from_where_one_was(
    changes: dict, message: str, tmp_path: Path
) -> None:
    path = write_training(tmp_path / 'a.pth', **changes)
    assert same(read_checkpoint(path).state)
    with pytest.raises(UserError, match=message):
        read_checkpoint(path, resume=True)


def training_of(optimizer: type, groups: int = 1, **schedulers: type) -> dict:
    """What is noted of a training of three layers."""
    layers = [torch.nn.Linear(1, 1) for _ in range(3)]
    params = [p for layer in layers for p in layer.parameters()]
    parts = [dict(params=params[index::groups]) for index in range(groups)]
    wrapper = OptimWrapper(optimizer(parts, lr=0.1))
    built = [
        kind(wrapper, **settings)
        for kind, settings in (
            (schedulers[name], SCHEDULERS[name]) for name in schedulers
        )
    ]
    return dict(
        optimizer=wrapper.state_dict(),
        param_schedulers=[scheduler.state_dict() for scheduler in built],
    )


ADAM, ADAMW = torch.optim.Adam, torch.optim.AdamW
SCHEDULERS = dict(
    warmup=dict(start_factor=0.1, end=9),
    steps=dict(milestones=[3]),
    whole=dict(T_max=9),
)
WARMUP, STEPS = dict(warmup=LinearLR), dict(steps=MultiStepLR)


def test_the_same_training_goes_on() -> None:
    for kind in (torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop):
        noted = training_of(kind, 2, **WARMUP, **STEPS)
        assert compare_training(training_of(kind, 2, **WARMUP, **STEPS), noted) is None
        # Older versions of PyTorch have fewer of these.
        for group in noted['optimizer']['param_groups']:
            group.pop('foreach'), group.pop('maximize')
        assert compare_training(training_of(kind, 2, **WARMUP, **STEPS), noted) is None
        several = dict(optimizer=dict(a=noted['optimizer']))
        assert compare_training(several, several) is None


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (
            training_of(torch.optim.AdamW, **WARMUP),
            'its parameter groups have the settings amsgrad, betas, eps, lr, weight_d.*'
            'of this config dampening, lr, momentum, nesterov, weight_decay$',
        ),
        (
            training_of(torch.optim.SGD, 3, **WARMUP),
            'it has 3 parameter groups, and this config 1$',
        ),
        (training_of(torch.optim.SGD), 'it has 0 schedulers, and this config 1$'),
        (
            training_of(torch.optim.SGD, **WARMUP, **STEPS),
            'it has 2 schedulers, and this config 1$',
        ),
        (
            training_of(torch.optim.SGD, whole=CosineAnnealingLR),
            'its schedulers have the settings T_max, .*and those .* start_factor',
        ),
        (
            dict(optimizer=dict(a=training_of(torch.optim.SGD)['optimizer'])),
            'its optimizer is of parameter groups of a, and this config has para',
        ),
        (dict(optimizer=dict(param_groups=3)), 'its parameter groups are 3$'),
        (dict(optimizer=dict(param_groups=[3])), r'its parameter groups are \[3\]$'),
        ({**training_of(torch.optim.SGD), 'param_schedulers': 3}, 'schedulers are 3$'),
    ],
)
def test_the_training_of_another_config_does_not_go_on(
    other: dict, message: str
) -> None:
    found = compare_training(training_of(torch.optim.SGD, **WARMUP), other)
    assert found is not None and re.search(message, found), found


def test_adam_does_not_go_on_as_adamw() -> None:
    """They have the same settings, and differ in how weights decay."""
    for kind, other in ((ADAM, ADAMW), (ADAMW, ADAM)):
        found = compare_training(training_of(kind), training_of(other))
        assert found is not None
        assert re.search('^decoupled_weight_decay of its parameter groups is', found)


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('optimizer.param_groups.0.lr', math.nan),
        ('optimizer.param_groups.0.lr', -0.1),
        ('optimizer.param_groups.0.lr', '0.1'),
        ('optimizer.param_groups.0.lr', True),
        ('optimizer.param_groups.0.betas', (0.9, math.inf)),
        ('optimizer.param_groups.0.betas', (0.9,)),
        ('optimizer.param_groups.0.amsgrad', 'no'),
        ('optimizer.param_groups.0.foreach', 'x'),
        ('param_schedulers.0.last_step', -3),
        ('param_schedulers.0.last_step', 2.5),
        ('param_schedulers.0._global_step', '7'),
        ('param_schedulers.0.base_values', [math.nan]),
        ('param_schedulers.0._last_value', [-1.0]),
        ('param_schedulers.0.end', -1),
        ('param_schedulers.0.by_epoch', 'yes'),
        ('param_schedulers.1.milestones', {'a': 1}),
        ('param_schedulers.1.milestones', {3: math.nan}),
        ('param_schedulers.1.gamma', None),
    ],
)
def test_edited_numbers_of_a_training_are_refused(path: str, value: object) -> None:
    noted = training_of(ADAMW, **WARMUP, **STEPS)
    *parents, key = path.split('.')
    part = noted
    for parent in parents:
        part = part[int(parent) if parent.isdigit() else parent]
    part[key] = value
    found = compare_training(training_of(ADAMW, **WARMUP, **STEPS), noted)
    assert found is not None and re.search(rf'^{key} of its ', found), found


def test_what_a_training_moved_on_is_taken() -> None:
    noted = training_of(ADAMW, **WARMUP, **STEPS)
    noted['optimizer']['param_groups'][0] |= dict(lr=3e-5, fused=True)
    noted['param_schedulers'][0] |= dict(last_step=7, _last_value=[3e-5])
    noted['param_schedulers'][1]['milestones'] = {3: 1, 9: 2}
    # As of a cosine whose warm-up is not over.
    noted['param_schedulers'][1]['last_step'] = -1
    assert compare_training(training_of(ADAMW, **WARMUP, **STEPS), noted) is None


@pytest.mark.parametrize(
    ('note', 'message'),
    [
        (dict(exp_avg=torch.tensor([1.0, math.nan])), 'exp_avg = tensor'),
        (dict(exp_avg='x'), 'exp_avg = x for a'),
        (dict(step=-2), 'step = -2 for a'),
        (dict(step=math.nan), 'step = nan for a'),
        (dict(step='9'), 'step = 9 for a'),
        (dict(step=torch.tensor(-1.0)), r'step = tensor\(-1'),
        (3, '3 for a'),
    ],
)
def test_edited_notes_of_an_optimizer_are_refused(
    note: object, message: str, tmp_path: Path
) -> None:
    good = dict(step=torch.tensor(4.0), exp_avg=torch.ones(2), extra=None)
    path = tmp_path / 'a.pth'
    whole, edited = (
        dict(state={0: good, 1: each}, param_groups=[]) for each in (dict(step=4), note)
    )
    write_training(path, optimizer=dict(generator=whole))
    read_checkpoint(path, resume=True)
    for optimizer in (edited, dict(generator=whole, critic=edited)):
        write_training(path, optimizer=optimizer)
        with pytest.raises(UserError, match=f'its optimizer notes {message}') as error:
            read_checkpoint(path, resume=True)
        assert '\n' not in str(error.value)


def test_the_parameters_of_a_group_are_counted() -> None:
    mine, noted = (training_of(torch.optim.SGD, 2) for _ in range(2))
    noted['optimizer']['param_groups'][1]['params'].pop()
    found = compare_training(mine, noted)
    assert (
        found
        == 'its parameter groups are of other parameters than those of this config'
    )


def test_what_is_noted_is_taken_as_far_as_it_is_what_it_should_be(
    tmp_path: Path,
) -> None:
    for meta, expected in (
        ('text', {}),
        (dict(dataset_meta=['a'], epoch=2), dict(epoch=2)),
        (dict(dataset_meta=dict(classes=('a',))), None),
    ):
        torch.save(dict(state_dict=STATE, meta=meta), tmp_path / 'a.pth')
        found = read_checkpoint(tmp_path / 'a.pth').meta
        assert found == (meta if expected is None else expected)


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        (dict(a=torch.tensor([1, float('nan')])), r'a\.pth: a is not finite \(NaN'),
        (dict(b=torch.tensor(float('-inf')).half()), 'b is not finite'),
        ({'module.a': torch.ones(1), 'a': torch.ones(1)}, 'holds a twice'),
        ({3: torch.ones(1)}, 'the tensor 3 has no name'),
        (dict(a=torch.eye(2).to_sparse()), r'a is no plain tensor \(sparse_coo fl'),
        (dict(a=torch.ones(1, dtype=torch.cfloat)), r'a is no .* complex64\)'),
        (dict(a=torch.ones(1, dtype=torch.float8_e5m2)), r'a is no .* float8_e5m2\)'),
        (dict(a=torch.ones(1, device='meta')), r'a is no plain tensor \(empty\)'),
        ({'x.weight': torch.ones(1).char()}, r'x\.weight is int8, and weights are fl'),
        ({'x.running_var': torch.ones(1) > 0}, r'x\.running_var is bool, and weights'),
    ],
)
def test_weights_that_no_network_runs_with_are_refused(
    state: dict, message: str, tmp_path: Path
) -> None:
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / 'a.pth')


def test_an_empty_name_is_not_random_weights() -> None:
    with pytest.raises(UserError, match='the name of the checkpoint is empty'):
        build_model(DEMO, checkpoint='')


def test_a_model_is_built_from_a_checkpoint_of_several_processes(
    tmp_path: Path,
) -> None:
    state = build_model(DEMO).state_dict()
    content = {f'module.{key}': value + 1 for key, value in state.items()}
    torch.save(
        dict(state_dict=content, meta=dict(dataset_meta=dict(classes=('a',)))),
        tmp_path / 'a.pth',
    )
    model = build_model(DEMO, checkpoint=str(tmp_path / 'a.pth'))
    assert model.dataset_meta == dict(classes=('a',))
    key = 'backbone.stem.conv.weight'
    assert torch.equal(model.state_dict()[key], state[key] + 1)


@pytest.mark.parametrize('level', [logging.INFO, logging.DEBUG])
def test_building_a_model_leaves_the_logger_as_it_was(level: int) -> None:
    logger = MMLogger.get_current_instance()
    before = logger.level
    try:
        logger.setLevel(level)
        build_model(DEMO)
        assert logger.level == level
    finally:
        logger.setLevel(before)


def test_a_detector_that_0_1_trained_says_how_its_anchors_were() -> None:
    """Its anchors were clipped, and it would lose accuracy without a word."""
    trained = "anchor_generator=dict(type='mmnv3.SSDLiteAnchorGenerator')"
    tensorflow = SimpleNamespace(layout='tensorflow', clip=False)
    detector = SimpleNamespace(bbox_head=SimpleNamespace(prior_generator=tensorflow))
    line = describe_older_anchors(detector, dict(cfg=trained))
    assert line is not None and 'anchor_generator.clip=True' in line
    for meta in ({}, dict(cfg=''), dict(cfg=trained, mmnv3_version='0.2')):
        assert describe_older_anchors(detector, meta) is None
    tensorflow.clip = True
    assert describe_older_anchors(detector, dict(cfg=trained)) is None
    tensorflow.clip, tensorflow.layout = False, 'torchvision'
    assert describe_older_anchors(detector, dict(cfg=trained)) is None
    assert describe_older_anchors(SimpleNamespace(), dict(cfg=trained)) is None


def seeds_of_fuzz(folder: Path) -> list[tuple[str, bytes]]:
    """Endings and contents of whole files."""
    torch.save(STATE, folder / 'old.pth', _use_new_zipfile_serialization=False)
    torch.save(trained_content(), folder / 'new.pth')
    save_file(STATE, folder / 'a.safetensors')
    return [(path.suffix, path.read_bytes()) for path in sorted(folder.iterdir())]


def trained_content() -> dict:
    """What a training of a layer notes."""
    torch.manual_seed(0)
    model, optimizer, schedulers = parts_of_training()
    model(torch.ones(2, 1)).sum().backward()
    optimizer.step()
    return dict(
        state_dict=model.state_dict(),
        meta=dict(iter=3, epoch=0, dataset_meta=dict(classes=('a',))),
        message_hub=dict(
            log_scalars={}, runtime_info=dict(a=1), resumed_keys=dict(a=True)
        ),
        optimizer=optimizer.state_dict(),
        param_schedulers=[each.state_dict() for each in schedulers],
    )


def parts_of_training() -> tuple:
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.BatchNorm1d(1))
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1, 0.9))
    return model, optimizer, [LinearLR(optimizer, end=9)]


def go_on(path: Path) -> None:
    """Loads what a Runner loads, as far as the gate lets it, and trains a step."""
    model, optimizer, schedulers = parts_of_training()
    state = read_checkpoint(path, resume=True).state
    content = torch.load(path, weights_only=True)
    wanted = dict(
        optimizer=optimizer.state_dict(),
        param_schedulers=[each.state_dict() for each in schedulers],
    )
    if found := compare_states(model.state_dict(), state):
        raise UserError(str(found))
    if found := compare_training(wanted, content):
        raise UserError(found)
    model.load_state_dict(state)
    MessageHub('fuzz').load_state_dict(content['message_hub'])
    optimizer.load_state_dict(content['optimizer'])
    for scheduler, noted in zip(schedulers, content['param_schedulers']):
        scheduler.load_state_dict(noted)
    model(torch.ones(2, 1)).sum().backward()
    optimizer.step()
    for scheduler in schedulers:
        scheduler.step()
    assert all(math.isfinite(rate) for rate in optimizer.get_lr()['lr'])


def broken_archive(content: bytes, seed: int) -> bytes:
    """A file of which the pickle is damaged, and all checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as archive:
        for name, member in members.items():
            broken = name.endswith('data.pkl')
            archive.writestr(name, mutate(member, seed) if broken else member)
    return out.getvalue()


def fuzz(count: int, folder: Path) -> None:
    whole = folder / 'whole'
    whole.mkdir()
    seeds = seeds_of_fuzz(whole)
    content, good = trained_content(), 0
    for seed in range(count):
        suffix, data = seeds[seed % len(seeds)]
        path = folder / f'a{suffix}'
        use = read_checkpoint
        if seed % 2:
            path.write_bytes(
                broken_archive(data, seed)
                if zipfile.is_zipfile(io.BytesIO(data)) and seed % 4 == 1
                else mutate(data, seed)
            )
        else:
            path, use = folder / 'a.pth', go_on
            torch.save(broken_value(random.Random(seed), content), path)
        try:
            use(path)
        except UserError as error:
            assert str(error) and '\n' not in str(error), seed
        except Exception as error:
            raise AssertionError(f'seed {seed}') from error
        else:
            good += 1
        path.unlink()
    assert 0 < good < count
    assert list(folder.iterdir()) == [whole]


def test_mutated_checkpoints_are_read_or_told(tmp_path: Path) -> None:
    fuzz(300, tmp_path)


@pytest.mark.slow  # As the one above, with many more cases.
def test_many_mutated_checkpoints_are_read_or_told(tmp_path: Path) -> None:
    fuzz(6000, tmp_path)
