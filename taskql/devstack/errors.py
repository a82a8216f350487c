"""The one error of the devstack: its message says what to do."""


class DevStackError(RuntimeError):
    """The stack can't start; the message names the reason and the remedy."""
