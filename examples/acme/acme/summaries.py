"""`summarise`: what the columns of a CSV text hold."""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, Field, field_validator

from taskql import TaskContext, handler

REPORT_EVERY = 1000


class Separator(Enum):
    """What stands between two cells."""

    COMMA = ","
    SEMICOLON = ";"
    TAB = "\t"


class Summarise(BaseModel):
    """A table to look through."""

    text: str = Field(description="CSV, its first line the names of the columns")
    separator: Separator = Separator.COMMA
    columns: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None, description="Only these; all of them unless given", min_length=1
    )

    @field_validator("text")
    @classmethod
    def _has_a_first_line(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("it is blank; its first line names the columns")
        return text


class Numbers(BaseModel):
    """Of a column in which each cell that is not blank is a number."""

    minimum: float
    maximum: float
    mean: float


class Column(BaseModel):
    """What is in a column."""

    name: str
    values: int = Field(description="Cells that are not blank")
    blanks: int
    numbers: Numbers | None = Field(description="Null for a column of texts, and for an empty one")


class Summary(BaseModel):
    """What is in the table."""

    rows: int
    columns: list[Column]


@dataclass
class NotCsv(Exception):
    """A line is not as the first one promises."""

    line: int
    message: str


@dataclass
class NoSuchColumn(Exception):
    """A column was asked for that the table does not have."""

    column: str
    available: list[str]


@handler("summarise", timeout=timedelta(minutes=2), failures=[NotCsv, NoSuchColumn])
def summarise(work: Summarise, task: TaskContext) -> Summary:
    """Counts what each column of a CSV text holds, with minimum, maximum and mean of numbers."""
    (_, names), *rows = table(work.text, work.separator)
    tallies = {place: Tally(names[place]) for place in chosen(names, work.columns)}
    for count, (line, cells) in enumerate(rows, start=1):
        if len(cells) != len(names):
            raise NotCsv(line, f"It has {len(cells)} cells, and the first line {len(names)}.")
        for place, tally in tallies.items():
            tally.add(cells[place].strip())
        if count % REPORT_EVERY == 0:
            task.progress(count / len(rows), f"{count} of {len(rows)} rows")
    return Summary(rows=len(rows), columns=[tally.column() for tally in tallies.values()])


def table(text: str, separator: Separator) -> Iterator[tuple[int, list[str]]]:
    """Each line that is not empty: its number, and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator.value)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise NotCsv(reader.line_num, f"It can't be read: {error}.") from error


def chosen(names: list[str], wanted: list[str] | None) -> list[int]:
    """Where the columns stand that are asked for."""
    for name in wanted or []:
        if name not in names:
            raise NoSuchColumn(name, names)
    return [place for place, name in enumerate(names) if wanted is None or name in wanted]


@dataclass
class Tally:
    """A column, counted cell by cell."""

    name: str
    values: int = 0
    blanks: int = 0
    numbers: list[float] = field(default_factory=list)

    def add(self, cell: str) -> None:
        if not cell:
            self.blanks += 1
            return
        self.values += 1
        if (number := as_number(cell)) is not None:
            self.numbers.append(number)

    def column(self) -> Column:
        return Column(name=self.name, values=self.values, blanks=self.blanks, numbers=self._summary())

    def _summary(self) -> Numbers | None:
        if not self.numbers or len(self.numbers) < self.values:
            return None
        mean = sum(self.numbers) / len(self.numbers)
        return Numbers(minimum=min(self.numbers), maximum=max(self.numbers), mean=mean)


def as_number(cell: str) -> float | None:
    """None for a text. What JSON has no number for, like `nan`, is one."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
