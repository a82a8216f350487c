"""The taxonomy of what goes wrong. A message says what to do; GraphQL codes are mapped in gql/errors.py."""

from datetime import timedelta


class TaskQLError(Exception):
    """Base of all errors that TaskQL raises on purpose."""


class Permanent(TaskQLError):
    """Raised by a handler: trying again would not help. The text is shown to the task's owner."""


class Retryable(TaskQLError):
    """Raised by a handler: try again, after `after` where given, else with the usual back-off.

    The text is shown to the task's owner.
    """

    after: timedelta | None = None

    def __init__(self, message: str = "", *, after: timedelta | None = None) -> None:
        super().__init__(message)
        self.after = after


class LeaseLost(TaskQLError):
    """The attempt is no longer ours: rescued, cancelled or finished elsewhere. Throw its result away."""


class Unavailable(TaskQLError):
    """A service that we need does not answer at present; the same call may succeed later."""


class Denied(Unavailable):
    """A service answers, but denies us what we need: a wrong password, a queue that is not there.

    At start-up it is a mistake to name at once, since waiting won't mend it. Later it counts as an outage:
    an operator gives back what is missing.
    """


class Refusal(TaskQLError):
    """What was asked of a task does not go: because of its status, or because it isn't there."""


class AlreadyFinished(Refusal):
    """The task is terminal: there is nothing left to cancel."""


class NotRetryable(Refusal):
    """Only FAILED and CANCELLED tasks can be retried."""


class NotFinished(Refusal):
    """The task is not terminal yet: it can't be deleted."""


class NotFound(Refusal):
    """What was asked for is not there, or is somebody else's: a client can't tell the two apart."""


class TooLarge(TaskQLError):
    """What was asked for has more bytes than may be sent or held at once."""


class InvalidInput(TaskQLError):
    """What the client sent can't be accepted; `issues` names each place, a path of names and indexes."""

    def __init__(self, *issues: "InputIssue") -> None:
        super().__init__("; ".join(f"{'.'.join(path)}: {reason}" for path, reason in issues))
        self.issues = issues


InputIssue = tuple[tuple[str, ...], str]
"""A path below the checked value, and the reason in words."""


class HandlerRefused(TaskQLError):
    """A handler can't be offered over GraphQL; the message names the function, the cause and a way out."""


class StartupError(TaskQLError):
    """The process can't start; the message says what to do."""
