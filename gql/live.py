"""A subscription to one task as its transport sees it: shared texts in, frames out, no asyncio task.

Invariant: a client that does not read is sent the newest state alone once it does, then the end.
"""

import asyncio
from functools import partial

from starlette.types import Message

from gql.outgoing import Outgoing
from gql.selection import Selection
from gql.watched import Watched, Watcher


class Live(Watcher):
    """What a transport adds: the form of its frames, and what to forget when it is over."""

    __slots__ = ("_late", "_outgoing", "_selection")

    def __init__(self, selection: Selection, after_version: int | None, outgoing: Outgoing) -> None:
        super().__init__(after_version)
        self._selection = selection
        self._outgoing = outgoing
        self._late: asyncio.Future[str] | None = None

    def frame(self, text: str) -> Message:
        """One result."""
        raise NotImplementedError

    def last_frame(self) -> Message:
        """That there will be no more."""
        raise NotImplementedError

    def forget(self) -> None:
        """Nothing more will be sent."""
        raise NotImplementedError

    def tell(self, watched: Watched) -> None:
        text = self._selection.text(watched)
        if isinstance(text, str):
            self._late = None
            self._outgoing.put(self, self.frame(text))
        else:
            self._late = text
            text.add_done_callback(self._tell_late)

    def end(self, error: Exception | None) -> None:
        if self._late is None:
            self._finish(error)
        else:
            self._late.add_done_callback(partial(self._finish_late, error))

    def _tell_late(self, text: asyncio.Future[str]) -> None:
        """A resolver took its time: the text counts unless something newer has come."""
        if text is not self._late:
            return
        self._late = None
        if error := text.exception():
            assert isinstance(error, Exception)
            self._finish(error)
        else:
            self._outgoing.put(self, self.frame(text.result()))

    def _finish_late(self, error: Exception | None, _: asyncio.Future[str]) -> None:
        if self.watched is not None:  # else the client has left meanwhile
            self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        self.forget()
        if error is not None:
            self._outgoing.add(self, self.frame(self._selection.failure(error)))
        self._outgoing.add(self, self.last_frame())
