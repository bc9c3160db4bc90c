"""What a person is told: errors to mend, and remarks."""

from __future__ import annotations

import errno
import io
import os
import re
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

# Exit statuses: argparse's for what is wrong, the shell's for Ctrl-C, SIGPIPE, SIGTERM.
WRONG, INTERRUPTED, UNREAD, TERMINATED = 2, 130, 141, 143

# What a person can do about what the system refuses.
_REMEDIES = {
    errno.ENOSPC: 'make room on the disk, or write elsewhere',
    errno.EDQUOT: 'make room in the quota, or write elsewhere',
    errno.EROFS: 'write elsewhere',
    errno.EACCES: 'give the right to it, or take another place',
    errno.EPERM: 'give the right to it, or take another place',
    errno.EMFILE: 'allow more with `ulimit -n`, or load with fewer processes',
    errno.ENFILE: 'close other programs',
    errno.ENAMETOOLONG: 'give a shorter name',
}
# How libraries say that there is no more memory, besides MemoryError.
_OUT_OF_MEMORY = ('DefaultCPUAllocator: ', 'Insufficient memory', 'std::bad_alloc')


class UserError(ValueError):
    """What somebody gave us is wrong; one line that says what, where and the remedy.

    The command-line tools print it without a traceback.
    """

    def __str__(self) -> str:
        """The line, in which names of files that are no UTF-8 can be printed."""
        return super().__str__().encode(errors='backslashreplace').decode()


class NotFiniteError(UserError):
    """A loss, weights or a network's outputs are NaN or infinite."""


class Remark(UserWarning):
    """Something that a person should know although all goes on; one line.

    The command-line tools print it without the place in the code.
    """


def end_on_ctrl_c(name: str) -> None:
    """Makes Ctrl-C end a tool with a line before its ``main`` begins.

    To be called before what takes seconds to import: there is nothing to tidy up yet,
    and half-imported packages would make anything of a KeyboardInterrupt.

    Args:
        name: The caller's ``__name__``; only programs are ended so.
    """
    # Whoever had it ignored, as `nohup`, meant so.
    if (
        name == '__main__'
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _leave)


def _leave(*_: object) -> NoReturn:
    os.write(2, b'interrupted\n')
    os._exit(INTERRUPTED)


class Terminated(KeyboardInterrupt):
    """SIGTERM, told as Ctrl-C is, so that files are closed."""


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM tidy up meanwhile as Ctrl-C does, by :class:`Terminated`.

    Processes that are forked inside inherit that. Of other threads than the main one
    nothing is done, as Python leaves signals to it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What goes round the ``main`` of every command-line tool.

    A :class:`UserError`, an error of the system (OSError: a full disk, a place that may
    not be written to) and a lack of memory are printed as one line, and the process
    ends with status 2, that of wrong arguments; Ctrl-C ends it with 130. Where nobody
    reads what it prints any more, as after ``| head``, it ends with 141 and no word.
    Any other error is a fault of the program, and keeps its traceback. A
    :class:`Remark` is printed as a line, once. Other warnings, talk among developers,
    are not.
    """
    if signal.getsignal(signal.SIGINT) is _leave:
        # From here on there may be something to tidy up.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files need be no text.
            stream.reconfigure(errors='backslashreplace')
    try:
        try:
            with warnings.catch_warnings():
                _show_only_remarks()
                yield
        except SystemExit:
            # So ends argparse after it has printed its help.
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if _is_unread(error):
            _end('', UNREAD)
        if isinstance(error, SystemExit):
            raise
        if isinstance(error, Terminated):
            _end('terminated', TERMINATED)
        if _came_of(error, KeyboardInterrupt):
            # Whatever failed while the program was stopping.
            _end('interrupted', INTERRUPTED)
        line = _find_line(error)
        if line is None:
            raise
        _end(f'error: {line}', WRONG)


def _end(line: str, status: int) -> NoReturn:
    """Prints a last line, unless it is empty, and ends the process."""
    try:
        sys.stdout.flush()
    except OSError:
        # Whoever read it is gone, or its disk is full: Python would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if line:
        # A name may hold line breaks.
        print(*line.splitlines(), file=sys.stderr)
    sys.exit(status)


def _is_unread(error: BaseException) -> bool:
    """Whether an error came of a standard output that is a pipe without a reader.

    Of other pipes, as to processes that load data, it is an error.
    """
    if not _came_of(error, BrokenPipeError):
        return False
    if isinstance(error, SystemExit):
        return True  # By rich, which has opened another output.
    output = select.poll()
    output.register(1, 0)
    return bool(output.poll(0))


def _came_of(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error is of a kind, or was raised for one or while one was handled."""
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False


def _find_line(error: BaseException) -> str | None:
    """What to tell of an error, or of the one that it was made of; None of a fault.

    A registry may raise an error anew with the name of the class that it was building
    before the text; a data-loading process passes its error on as a traceback.
    """
    text = str(error).rstrip()
    # Whoever says `from` means the new text.
    origin = None if error.__suppress_context__ else error.__context__
    if origin is not None and text.endswith(str(origin).strip()):
        line = _find_line(origin)
        if line is not None:
            return line
    if 'Traceback (most recent call last)' in text:
        text = re.sub(r'^[\w.]*(Error|Exception): ', '', text.splitlines()[-1])
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError):
        return _system_line(error, text)
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == 'OutOfMemoryError'
        or any(said in text for said in _OUT_OF_MEMORY)
    ):
        return (
            'there is not enough memory; a smaller batch or input needs less'
            + f' ({first_line(text)})' * bool(text)
        )
    if text.startswith('DataLoader worker (pid'):
        return (
            'a data-loading process was ended, as happens where memory is short; load '
            f'with fewer (num_workers) ({first_line(text)})'
        )
    if _is_of_registry(error):
        said = str(error.args[0]) if error.args else text
        return 'the config cannot be built: ' + first_line(said).partition('. ')[0]
    return None


def _is_of_registry(error: BaseException) -> bool:
    """Whether mmengine refused a part of a config itself.

    It does where the part has no type, an unknown one, or settings that the type does
    not take.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_name == 'build_from_cfg'


def _system_line(error: OSError, text: str) -> str:
    """What to tell of an error of the system: the file, what is wrong, the remedy."""
    number, said = error.errno, error.strerror
    names = [name for name in (error.filename, error.filename2) if name is not None]
    if number is None:
        # What a data-loading process passes on is the text alone.
        found = re.fullmatch(r'\[Errno (\d+)\] (.*)', text, re.DOTALL)
        if found is None:
            return first_line(text) or type(error).__name__
        number, said = int(found[1]), found[2]
    # Python's own texts begin with a capital, as other sentences.
    line = ' → '.join(map(os.fsdecode, filter(_is_path, names)))
    line += ': ' * bool(line) + first_line(said or os.strerror(number))
    remedy = _REMEDIES.get(number)
    return f'{line}; {remedy}' if remedy else line


def _is_path(name: Any) -> bool:
    return isinstance(name, (str, bytes))


def first_line(said: object) -> str:
    """What an error or a text says first; others' go on for pages."""
    return str(said).strip().partition('\n')[0].strip()


def _show_only_remarks() -> None:
    """Makes remarks lines, each said once, and silences all other warnings."""
    said = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        line = f'warning: {message}'
        if line not in said:
            said.add(line)
            print(line, file=sys.stderr)

    warnings.simplefilter('ignore')
    warnings.simplefilter('always', Remark)
    warnings.showwarning = show
