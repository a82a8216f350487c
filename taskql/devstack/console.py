"""Where the supervisor speaks: its own notes, and what the processes print, each line under its name."""

import contextlib
import time
from collections.abc import Iterator
from typing import TextIO


class Console:
    """Notes appear at once; the processes' lines wait until `release`, so that start-up stays readable."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._held: list[str] | None = []

    def say(self, text: str) -> None:
        self._write(f"{text}\n")

    def pass_on(self, name: str, line: str) -> None:
        text = f"{name:<10} | {line}"
        if self._held is None:
            self.say(text)
        else:
            self._held.append(text)

    def release(self) -> None:
        held, self._held = self._held or [], None
        for text in held:
            self.say(text)

    @contextlib.contextmanager
    def timed(self, what: str, done: str) -> Iterator[None]:
        """One line for a step: what is under way, and when it is done how long it took."""
        began = time.monotonic()
        self._write(f"{what} … ")
        try:
            yield
        except BaseException:
            self._write("\n")
            raise
        self._write(f"{done} in {time.monotonic() - began:.1f} s\n")

    def _write(self, text: str) -> None:
        # A reader that has gone, as in `make run | head`, must not keep us from stopping in order.
        with contextlib.suppress(OSError):
            print(text, end="", file=self._stream, flush=True)
