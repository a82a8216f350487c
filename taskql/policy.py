"""What a deployment decides about the outcomes of its handlers."""

from dataclasses import dataclass

MAX_STORED_RESULT_BYTES = 64 * 1024
"""The largest result that PostgreSQL keeps; larger ones go to the result store, where there is one."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`max_result_bytes` counts compact JSON; with `expose_errors` the text of any exception is shown.

    What is larger than `max_row_bytes` goes to the result store.
    """

    max_result_bytes: int = MAX_STORED_RESULT_BYTES
    expose_errors: bool = False
    max_row_bytes: int = MAX_STORED_RESULT_BYTES
