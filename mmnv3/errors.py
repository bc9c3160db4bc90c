"""What a person is told: errors to mend, and remarks."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """What somebody gave us is wrong; one line that says what, where and the remedy.

    The command-line tools print it without a traceback.
    """


class Remark(UserWarning):
    """Something that a person should know although all goes on; one line.

    The command-line tools print it without the place in the code.
    """


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Prints a :class:`UserError` as one line and ends the process with status 2.

    That is also the status of wrong arguments. Any other error is a fault of the
    program, and keeps its traceback.
    """
    try:
        yield
    except Exception as error:
        line = _find_line(error)
        if line is None:
            raise
        print(f'error: {line}', file=sys.stderr)
        sys.exit(2)


def _find_line(error: BaseException) -> str | None:
    """The line of a UserError that another error may have been made of.

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
    if not isinstance(error, UserError):
        return None
    if 'Traceback (most recent call last)' in text:
        return re.sub(r'^[\w.]*Error: ', '', text.splitlines()[-1])
    return text


def only_remarks() -> None:
    """Makes a command-line tool print remarks as lines, and no other warnings.

    Libraries' warnings are talk among developers.
    """
    warnings.simplefilter('ignore')
    warnings.simplefilter('once', Remark)
    warnings.showwarning = lambda message, *_, **__: print(
        f'warning: {message}', file=sys.stderr
    )
