"""What a person is told: errors to mend, and remarks."""

from __future__ import annotations

import sys
import warnings


class UserError(ValueError):
    """What somebody gave us is wrong; one line that says what, where and the remedy.

    The command-line tools print it without a traceback.
    """


class Remark(UserWarning):
    """Something that a person should know although all goes on; one line.

    The command-line tools print it without the place in the code.
    """


def only_remarks() -> None:
    """Makes a command-line tool print remarks as lines, and no other warnings.

    Libraries' warnings are talk among developers.
    """
    warnings.simplefilter('ignore')
    warnings.simplefilter('once', Remark)
    warnings.showwarning = lambda message, *_, **__: print(
        f'warning: {message}', file=sys.stderr
    )
