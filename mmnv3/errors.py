"""The error that a person can mend."""


class UserError(ValueError):
    """What somebody gave us is wrong; one line that says what, where and the remedy.

    The command-line tools print it without a traceback.
    """


class Remark(UserWarning):
    """Something that a person should know although all goes on; one line.

    The command-line tools print it without the place in the code.
    """
