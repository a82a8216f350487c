"""Values that are made again and again, at no more than they have to cost.

A frozen dataclass sets each field through `object.__setattr__`, which takes three times as long as all else
in making one. Invariant: nobody changes a value; mypy, which sees a frozen dataclass, keeps it so.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Made = TypeVar("Made")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(*, kw_only: bool = False) -> Callable[[type[Made]], type[Made]]:
    """A dataclass with slots, compared and hashed by what it holds, for where microseconds count."""
    return dataclass(slots=True, unsafe_hash=True, kw_only=kw_only)
