"""Files that are whole or absent, and places that can take one."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Lock

from filelock import FileLock, Timeout

from mmnv3.errors import UserError

# Temporary names end in `.HOST-PROCESS-NUMBER.tmp`: who still writes can be told, also
# where several machines share a folder. Of 0.1 they end in `.PROCESS.tmp`.
_HOST = re.sub(r'\W', '_', platform.node())[:64]
_TEMPORARY = re.compile(rf'\.(?:{_HOST}-(\d+)-\d+|(\d+))\.tmp$', re.ASCII)
_numbers = count()
_swept: set[Path] = set()
_sweeping = Lock()

# A disk that has not even this is full. One block of usual file systems.
_BLOCK_BYTES = 4096

_KINDS = {
    stat.S_ISDIR: 'a folder',
    stat.S_ISCHR: 'a device',
    stat.S_ISBLK: 'a device',
    stat.S_ISFIFO: 'a pipe',
    stat.S_ISSOCK: 'a socket',
}


@contextmanager
def whole_or_absent(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside a file, and renames it once it is written.

    The folder is made. Of a symbolic link the file that it names is written, and the
    link stays, as with a shell's ``>``. What dead processes left of temporary files in
    the folder is removed.

    Args:
        path: The file. Where writing fails, what was there before stays.

    Yields:
        The name to write to.

    Raises:
        UserError: When the place is a folder, a device or a pipe.
        OSError: When the system refuses to write there, with the name of the file; also
            of a library that met a full disk and did not say so.
    """
    path = Path(path)
    target = _regular_file(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    partial = target.with_name(_temporary_name(target.name))
    try:
        yield partial
        os.replace(partial, target)
    except OSError as error:
        if error.errno and error.filename in (None, str(partial)):
            raise _of_file(error.errno, path) from error
        raise
    except Exception as error:
        _refuse_full_disk(target.parent, path, error)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def temporary_folder(beside: str | Path) -> Iterator[Path]:
    """Makes a folder beside a file or folder, from which parts can be renamed.

    Args:
        beside: What will be made. The folder that it is in is made.

    Yields:
        The temporary folder, which is removed in the end; if its process is killed, by
        the next process that writes there.

    Raises:
        OSError: When it cannot be made.
    """
    beside = Path(beside)
    beside.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(beside.parent)
    folder = beside.with_name(_temporary_name(f'.{beside.name}'))
    folder.mkdir()
    try:
        yield folder
    except Exception as error:
        if not isinstance(error, OSError):
            _refuse_full_disk(folder, beside, error)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_output(
    option: str,
    path: str | Path | None,
    inputs: Iterable[object] = (),
    *,
    folder: bool = False,
) -> None:
    """Checks that an output has a place, before the work for it begins.

    Args:
        option: Whose value the output is, as ``'--json'``.
        path: The file, or the folder; None where none is asked for.
        inputs: Files and folders that are read, and other outputs; what is no file
            (None, ``'torchvision:NAME'``) does not matter.
        folder: Whether it is a folder.

    Raises:
        UserError: When it is one of the inputs, or a file in one of them; a folder in
            place of a file or the reverse; a device or a pipe; or where nothing can be
            written.
    """
    if path is None:
        return
    path = Path(path)
    for given in inputs:
        if isinstance(given, (str, Path)) and _overwrites(path, Path(given)):
            raise UserError(
                f'{option} {path} would overwrite {given}; name another place'
            )
    try:
        if not folder:
            target = _regular_file(path)
            check_room(target.parent)
            if target.exists() and not os.access(target, os.W_OK):
                raise _of_file(errno.EACCES, path)
        elif os.path.lexists(path) and not path.is_dir():
            raise UserError(f'{path} is no folder; name another')
        else:
            check_room(path)
    except UserError as error:
        raise UserError(f'{option} {error}') from None
    except OSError as error:
        where = '' if error.filename == str(path) else f'{error.filename}: '
        raise UserError(
            f'{option} {path} cannot be written ({where}{error.strerror}); '
            'name another place'
        ) from None


def _regular_file(path: Path) -> Path:
    """The file that is written for a path, which may be a link or not exist yet."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    for is_kind, kind in _KINDS.items():
        if is_kind(mode):
            raise UserError(f'{path} is {kind}; name a file')
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _overwrites(path: Path, given: Path) -> bool:
    """Whether writing a file would change what is given."""
    place, source = (Path(os.path.realpath(each)) for each in (path, given))
    if place == source:
        return True
    if not place.is_file():
        return False
    if source.is_dir():
        return place.is_relative_to(source)
    return source.exists() and place.samefile(source)


def check_room(folder: Path) -> None:
    """Writes a block into a folder, or into the nearest that is there, and removes it.

    Raises:
        OSError: When that cannot be done.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    _remove_leftovers(folder)
    probe = folder / _temporary_name('')
    try:
        probe.write_bytes(bytes(_BLOCK_BYTES))
    except OSError as error:
        raise _of_file(error.errno or errno.EIO, folder) from error
    finally:
        if folder.is_dir():
            probe.unlink(missing_ok=True)


def _refuse_full_disk(folder: Path, path: Path, error: Exception) -> None:
    """Raises what the system says of a full disk, where a library said it unclearly."""
    try:
        check_room(folder)
    except OSError as refusal:
        raise _of_file(refusal.errno or errno.EIO, path) from error


def _of_file(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def _temporary_name(name: str) -> str:
    # A name may have 255 bytes.
    return f'{name[:40]}.{_HOST}-{os.getpid()}-{next(_numbers)}.tmp'


def _remove_leftovers(folder: Path) -> None:
    """Removes temporary files and folders of processes that are no more.

    Once for each folder, as it may hold many files, and before this process writes
    there: what has its number is of an earlier one, in a container for example.
    """
    folder = folder.absolute()
    with _sweeping:
        if folder in _swept or not folder.is_dir():
            return
        _swept.add(folder)
        for path in folder.iterdir():
            found = _TEMPORARY.search(path.name)
            if found is None or _is_another_alive(int(found[1] or found[2])):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_another_alive(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        # Another user's.
        return True
    return True


@contextmanager
def only_process(path: str | Path, remedy: str) -> Iterator[None]:
    """Keeps what other processes write to from being written to by this one.

    Args:
        path: What is guarded: a file, or a folder; a lock file lies beside the one and
            in the other meanwhile.
        remedy: What to do while another process holds it.

    Raises:
        UserError: When another process does; it is not waited for.
    """
    path = Path(path)
    name = path / '.lock' if path.is_dir() else path.with_name(f'.{path.name}.lock')
    lock = FileLock(name)
    # The lock makes folders where nothing may be written in the end.
    absent = [folder for folder in name.parents if not folder.exists()]
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f'{path} is being written by another process; {remedy}'
        ) from None
    try:
        yield
    finally:
        # While it is held: whoever opened it meanwhile finds, once it has the lock,
        # that the file is gone, and takes it for another's (filelock from 4 on).
        name.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # Something was written, or is just being.
            for folder in absent:
                folder.rmdir()
