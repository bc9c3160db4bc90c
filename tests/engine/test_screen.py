"""What a training shows on a terminal, in a pipe, and with ``--quiet``."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from mmnv3.engine.screen import ProgressHook, Screen, summary

INFO, WARNING = logging.INFO, logging.WARNING
PAGE = 'Hooks:\na\nb\nc\nd'


def shown(screen: Screen, level: int, text: str) -> bool:
    return screen.filter(logging.LogRecord('a', level, '', 0, text, None, None))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_shows_lines_but_no_pages_before_it_begins() -> None:
    screen = Screen()
    assert not screen.bar
    assert shown(screen, INFO, 'loaded a network')
    assert not shown(screen, INFO, PAGE)
    assert not shown(screen, INFO, 'paramwise_options -- a.weight:lr=0.1')
    assert shown(screen, WARNING, PAGE)
    screen.began = True
    assert shown(screen, INFO, PAGE)  # As a table of classes.


def test_a_bar_and_quiet_leave_warnings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'stdout', Terminal())
    assert Screen().bar and not Screen(quiet=True).bar and not Screen(bar=False).bar
    for screen in (Screen(), Screen(quiet=True)):
        screen.began = True
        assert not shown(screen, INFO, 'Iter(train) [20/840]')
        assert shown(screen, WARNING, 'a picture is missing')


def fake_runner(work_dir: Path) -> SimpleNamespace:
    hook = SimpleNamespace(save_best='coco/bbox_mAP', key_indicators=['coco/bbox_mAP'])
    return SimpleNamespace(
        iter=0,
        max_iters=40,
        hooks=[hook],
        logger=SimpleNamespace(handlers=[]),
        message_hub=SimpleNamespace(runtime_info={}),
        val_dataloader=[1, 2],
        work_dir=str(work_dir),
        cfg=SimpleNamespace(filename='my config.py'),
    )


def test_the_bar_tells_how_it_goes(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, 'stdout', Terminal())
    screen, written = Screen(), io.StringIO()
    monkeypatch.undo()
    console = Console(file=written, force_terminal=True, width=160)
    hook, runner = ProgressHook(screen, console), fake_runner(tmp_path)
    hook.before_train(runner)
    batch = dict(inputs=[torch.zeros(1)] * 8)
    for step in range(3):
        hook.before_train_iter(runner, step, batch)
        runner.iter += 1
        hook.after_train_iter(runner, step, batch, dict(loss=torch.tensor(2.5)))
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0)
    runner.message_hub.runtime_info.update(best_score=0.31)
    hook.after_val_epoch(runner, {'coco/bbox_mAP': 0.2999})
    hook.after_train(runner)
    text = written.getvalue()
    for part in (
        '3/40',
        'loss 2.500',
        'coco/bbox_mAP 0.300 (best 0.310)',
        'pictures/s',
    ):
        assert part in text
    assert 'trained 3 iterations' in capsys.readouterr().out


def test_quiet_hides_what_libraries_print(tmp_path, capsys) -> None:
    runner = fake_runner(tmp_path)
    with ProgressHook(Screen(quiet=True)) as hook:
        print('creating index...')
        hook.before_train(runner)
        hook.before_val_epoch(runner)
        print('Average Precision')
        hook.after_val_epoch(runner)
        print('Loading and preparing results...')
        hook.after_train(runner)
    assert capsys.readouterr().out == 'trained 0 iterations in 0 min 0 s\n'
    with pytest.raises(KeyboardInterrupt), ProgressHook(Screen(quiet=True)):
        raise KeyboardInterrupt
    print('stopped')
    assert capsys.readouterr().out == 'stopped\n'


def test_a_log_that_nobody_reads_ends_the_training() -> None:
    read, write = os.pipe()
    os.close(read)
    logger = logging.Logger('a')
    pipe = open(write, 'w')
    logger.addHandler(logging.StreamHandler(pipe))
    Screen().join(logger)
    with pytest.raises(BrokenPipeError):
        logger.info('Iter(train) [20/840]')
    with pytest.raises(BrokenPipeError):
        pipe.close()  # It tries once more.


def test_the_next_commands_name_what_is_there(tmp_path) -> None:
    runner = fake_runner(tmp_path)
    runner.iter = 7
    assert summary(runner, 61.0) == ['trained 7 iterations in 1 min 1 s']
    (tmp_path / 'last_checkpoint').write_text('work dir/iter_7.pth')
    runner.message_hub.runtime_info.update(best_ckpt=str(tmp_path / 'gone.pth'))
    lines = summary(runner, 61.0)
    assert lines[1] == 'checkpoint: work dir/iter_7.pth'
    test = "'my config.py' 'work dir/iter_7.pth' --show-dir pictures"
    assert f'  python -m mmnv3 test {test}' in lines
