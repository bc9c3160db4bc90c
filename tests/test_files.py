"""Outputs are whole or absent, overwrite no input, and have their place looked at."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from mmnv3.errors import UserError
from mmnv3.files import check_output, only_process, temporary_folder, whole_or_absent


def write(path: Path, text: str = 'new') -> None:
    with whole_or_absent(path) as partial:
        partial.write_text(text)


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / 'a' / 'b' / 'found.json'
    write(path, 'old')
    with pytest.raises(KeyError), whole_or_absent(path) as partial:
        partial.write_text('half')
        assert path.read_text() == 'old'
        raise KeyError
    with pytest.raises(KeyboardInterrupt), whole_or_absent(path) as partial:
        partial.write_text('half')
        raise KeyboardInterrupt
    assert path.read_text() == 'old'
    write(path)
    assert path.read_text() == 'new'
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_and_names_the_new_file(tmp_path: Path) -> None:
    for name, before in (('there', 'old'), ('dangling', None)):
        target = tmp_path / name / 'target.json'
        target.parent.mkdir()
        if before:
            target.write_text(before)
        link = tmp_path / f'{name}.json'
        link.symlink_to(Path(name, 'target.json'))
        check_output('--json', link)
        write(link)
        assert link.is_symlink() and target.read_text() == 'new'
        assert list(target.parent.iterdir()) == [target]


def test_only_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'fifo')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'link').symlink_to('/dev/null')
    for place, kind in (
        ('/dev/null', 'a device'),
        (tmp_path / 'link', 'a device'),
        (tmp_path / 'fifo', 'a pipe'),
        (tmp_path / 'folder', 'a folder'),
        ('', 'a folder'),
    ):
        before = os.stat(place or '.').st_mode
        for attempt in (
            lambda place=place: write(place),
            lambda place=place: check_output('--json', place),
        ):
            with pytest.raises(UserError, match=f'is {kind}; name a file'):
                attempt()
        assert os.stat(place or '.').st_mode == before
    assert len(list(tmp_path.iterdir())) == 3


def test_inputs_are_not_overwritten(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture = Path('pictures', 'a.jpg')
    picture.parent.mkdir()
    picture.touch()
    Path('link.json').symlink_to(picture)
    os.link(picture, 'hard.json')
    for output in (picture, 'pictures/../pictures/a.jpg', tmp_path / picture):
        with pytest.raises(UserError, match=r'^--json .* would overwrite pictures/a.'):
            check_output('--json', output, [None, 'torchvision:a', 'b', picture])
    for output in ('link.json', 'hard.json'):
        with pytest.raises(UserError, match=r'--out .*json would overwrite pictures'):
            check_output('--out', output, [str(picture)])
    with pytest.raises(UserError, match='would overwrite pictures;'):
        check_output('--json', picture, ['pictures'])
    # Neither is there yet, and both would be written.
    with pytest.raises(UserError, match=r'--plot a\.png would overwrite'):
        check_output('--plot', 'a.png', [tmp_path / 'a.png'])
    check_output('--json', 'pictures/new.json', ['pictures', picture])
    check_output('--out', 'pictures', [picture], folder=True)


def test_folders_are_folders(tmp_path: Path) -> None:
    file = tmp_path / 'file'
    file.touch()
    (tmp_path / 'dangling').symlink_to('gone')
    for place in (file, tmp_path / 'dangling', '/dev/null'):
        with pytest.raises(
            UserError, match=r'--work-dir .* is no folder; name another'
        ):
            check_output('--work-dir', place, folder=True)
    for folder in (True, False):
        with pytest.raises(UserError, match=r'--out .*file/a.*\(.*Not a directory'):
            check_output('--out', file / 'a', folder=folder)
    check_output('--work-dir', tmp_path / 'new' / 'one', folder=True)
    assert {path.name for path in tmp_path.iterdir()} == {'file', 'dangling'}


def test_names_that_the_system_refuses(tmp_path: Path) -> None:
    for name, said in (('n' * 300, 'File name too long'), ('loop', 'Too many levels')):
        if name == 'loop':
            (tmp_path / name).symlink_to(name)
        with pytest.raises(UserError, match=rf'--json .*{name}.*\({said}'):
            check_output('--json', tmp_path / name)
        with pytest.raises(OSError, match=said):
            write(tmp_path / name)
    write(tmp_path / ('é' * 120 + '.json'))


def test_places_that_may_only_be_read(small_disk: Path, remount) -> None:
    (small_disk / 'old.json').write_text('old')
    remount('ro')
    for name in ('old.json', 'new.json', 'new/one.json'):
        with pytest.raises(UserError, match=r'--json .*\(.*Read-only file system\)'):
            check_output('--json', small_disk / name)
        with pytest.raises(OSError, match=rf'Read-only file system: .*{name[:3]}'):
            write(small_disk / name)
    with pytest.raises(UserError, match='Read-only'):
        check_output('--work-dir', small_disk / 'new', folder=True)


def test_files_that_are_protected(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / 'old.json'
    path.touch(0o400)
    if os.geteuid() == 0:  # Who may write everywhere.
        monkeypatch.setattr(os, 'access', lambda *_: False)
    with pytest.raises(UserError, match='Permission denied'):
        check_output('--json', path)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / 'found.json'
    write(path, 'old')
    with pytest.raises(OSError, match=r'No space left on device: .*found.json'):
        write(path, 'x' * 100_000)
    # A library that does not say what is wrong, as torch.save.
    with (
        pytest.raises(OSError, match=r'No space left on device: .*found.json'),
        whole_or_absent(path) as partial,
        partial.open('wb', buffering=0) as file,
    ):
        while file.write(bytes(4096)) == 4096:
            pass
        raise RuntimeError('[enforce fail at inline_container.cc:672] . 64 vs 0')
    # One with another fault, and room enough.
    with pytest.raises(KeyError), whole_or_absent(path):
        raise KeyError
    assert path.read_text() == 'old'
    assert list(small_disk.iterdir()) == [path]
    check_output('--json', path)
    (small_disk / 'full').write_bytes(bytes(65536 - 4096))
    with pytest.raises(UserError, match=r'\(.*No space left on device\); name another'):
        check_output('--json', path)
    assert {each.name for each in small_disk.iterdir()} == {'found.json', 'full'}


def killed_while(code: str) -> None:
    """Runs code in a process that then kills itself."""
    code = f'import os\nfrom mmnv3.files import *\n{code}os.kill(os.getpid(), 9)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == -9


def test_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    place = tmp_path / 'a.json'
    killed_while(
        f'with whole_or_absent({str(place)!r}) as made:\n'
        '    made.touch()\n'
        f'    with temporary_folder({str(place)!r}) as folder:\n'
        "        (folder / 'b').touch()\n"
        '        '
    )
    assert len(list(tmp_path.iterdir())) == 2
    # Of version 0.1, by process 1, which lives; and of nobody.
    kept = [
        tmp_path / name for name in ('a.json.1.tmp', 'notes.tmp', 'a.other-9-1.tmp')
    ]
    for path in (*kept, tmp_path / 'a.json.99999999.tmp'):
        path.touch()
    write(place)
    assert set(tmp_path.iterdir()) == {place, *kept}


def test_a_temporary_folder(tmp_path: Path) -> None:
    out = tmp_path / 'new' / 'model.xml'
    with pytest.raises(KeyError), temporary_folder(out) as folder:
        (folder / 'model.bin').touch()
        os.replace(folder / 'model.bin', out.with_suffix('.bin'))
        raise KeyError
    assert list(out.parent.iterdir()) == [out.with_suffix('.bin')]


@pytest.mark.parametrize('folder', [False, True])
def test_a_second_writer_is_told_and_nothing_stays(folder: bool, tmp_path: Path):
    path = tmp_path / 'guarded'
    if folder:
        path.mkdir()
    with only_process(path, 'wait'):
        with (
            pytest.raises(UserError, match=r'guarded is being written by .*; wait'),
            only_process(path, 'wait'),
        ):
            pytest.fail('two writers')
        with only_process(tmp_path / 'other', 'wait'):
            pass
    with only_process(path, 'wait'):
        pass
    assert not list(tmp_path.rglob('.*lock'))
    with only_process(tmp_path / 'new' / 'folder' / 'a', 'wait'):
        assert (tmp_path / 'new' / 'folder').is_dir()
    assert not (tmp_path / 'new').exists()


def test_never_two_of_many_who_come_and_go(tmp_path: Path) -> None:
    inside, rounds, wrong = tmp_path / 'inside', [], []

    def come_and_go() -> None:
        try:
            for _ in range(300):
                with suppress(UserError), only_process(tmp_path / 'table', 'wait'):
                    # Exactly one can make it.
                    inside.touch(exist_ok=False)
                    inside.unlink()
                    rounds.append(1)
        except Exception as error:
            wrong.append(error)

    threads = [Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rounds and not wrong
    assert not list(tmp_path.iterdir())
