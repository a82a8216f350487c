"""What handlers' authors may write that can't be offered: one sample for each refusal at boot.

Each is the end of a module that begins with PRELUDE; `{handler}` is a handler that is fine.
"""

PRELUDE = """
from collections import namedtuple
from collections.abc import Iterable, Iterator
from dataclasses import InitVar, dataclass
from datetime import timedelta
from enum import Enum, Flag
from typing import Generic, Literal, Optional, TypeVar, Union

from pydantic import BaseModel, Field, Json, NaiveDatetime, SecretStr, model_serializer

from taskql import TaskContext, handler, lifespan
from taskql.errors import NotFound

T = TypeVar("T")

@dataclass
class Out:
    text: str

@dataclass
class Other:
    text: str

@dataclass
class Each(Generic[T]):
    item: T

class Lock: pass

class Gone(Exception): pass
"""

FUNCTION = "\ndef f(task: TaskContext) -> Out: ..."

DECLARATIONS = [
    f"@handler{FUNCTION}",
    f"@handler('send-email'){FUNCTION}",
    f"@handler('work', max_attempts=0){FUNCTION}",
    f"@handler('work', timeout=timedelta(days=1)){FUNCTION}",
    f"@handler('work', max_attempts='3'){FUNCTION}",
    f"@handler('work', timeout=30){FUNCTION}",
    "handler('work', process=True)(lambda task: None)",
    "handler('work')(print)",
    "@handler('work')\ndef f(task: TaskContext) -> Out: yield",
    "@handler('work')\ndef f(*args) -> Out: ...",
    "@handler('work')\ndef f(work, task: TaskContext) -> Out: ...",
    "@handler('work')\ndef f(work: Out) -> Out: ...",
    "@handler('work')\ndef f() -> Out: ...",
    "@handler('work')\ndef f(task: TaskContext) -> Out | str: ...",
    "@handler('work')\ndef f(task: TaskContext): ...",
    "@handler('work')\ndef f(work: 'Nowhere', task: TaskContext) -> Out: ...",
    "@handler('work')\ndef f(work: list[str], task: TaskContext) -> Out: ...",
    f"@handler('work'){FUNCTION}\n@handler('work')\ndef g(task: TaskContext) -> Out: ...",
]

FIELDS = [
    "field: Nowhere",
    "field: bytes",
    "field: SecretStr",
    "field: Json[int]",
    "field: timedelta",
    "field: NaiveDatetime",
    "field: list",
    "field: tuple[str, int]",
    "field: Iterable[str]",
    "field: Each[str]",
    "field: str = None",
    "field: float = float('inf')",
    "field: 'Work'",
    "field: Union[int, str]",
    "field: Union[Out, Other]",
    "field: None",
    "field: namedtuple('Point', 'x y')",
    "field: T",
    "field: Flag('Right', 'READ')",
    "field: Enum('Size', '')",
    "field: Enum('Size', 'größe')",
    "field: Enum('Size', {'PAIR': (1, 2)})",
    "field: Literal[1, 2]",
    "field: Literal['1st']",
    "field: Literal['a b', 'a-b']",
    "field: Literal[None]",
    "field: str = Field(exclude=True)",
    "größe: int",
    "max_size: int; maxSize: int",
    "pass",
]

MODELS = [
    ("@dataclass\nclass Work:\n    x: int\n    seed: InitVar[int] = 0", "work: Work, ", "Out"),
    ("@dataclass\nclass Work:\n    x: 'Nowhere'", "work: Work, ", "Out"),
    ("class Work(BaseModel):\n    x: 'Nowhere | None'", "work: Work, ", "Out"),
    ("", "work: Each[str], ", "Out"),
    ("class Empty(BaseModel): pass", "", "Empty"),
    ("class Odd(BaseModel):\n    x: int\n    @model_serializer\n    def all(self) -> str: ...", "", "Odd"),
    ("@dataclass\nclass Größe:\n    x: int", "", "list[Größe]"),
    ("@dataclass\nclass Task:\n    x: int", "", "list[Task]"),
    ("class Inner:\n    class Out(BaseModel):\n        one: Out", "", "list[Inner.Out]"),
    (
        "class LineInput(Out): ...\n@dataclass\nclass Work:\n    line: LineInput",
        "work: Work, ",
        "list[LineInput]",
    ),
]

FAILURES = [
    ("", "Gone"),
    ("", "['Gone']"),
    ("", "[KeyboardInterrupt]"),
    ("", "[ValueError]"),
    ("class Odd(NotFound): pass", "[Odd]"),
    ("class Größe(Exception): pass", "[Größe]"),
    ("class Timeout(Exception): pass", "[Timeout]"),
    ("@dataclass(frozen=True)\nclass Hard(Exception):\n    x: int", "[Hard]"),
    ("", "[Gone, Gone]"),
    ("@dataclass\nclass Odd(Exception):\n    args: int", "[Odd]"),
    ("class Odd(Exception):\n    def __init__(self, left): ...", "[Odd]"),
    ("@dataclass\nclass Odd(Exception):\n    lock: Lock", "[Odd]"),
    ("@dataclass\nclass Odd(Exception):\n    left: 'Nowhere'", "[Odd]"),
]

LIFESPANS = [
    "def client(): ...",
    "def client(url: str) -> Iterator[Out]: yield",
    "def client(): yield",
    "def client() -> Iterator[None]: yield",
    "def client() -> 'Iterator[Nowhere]': yield",
    "def client() -> Iterator[Out]: yield\n@lifespan\ndef other() -> Iterator[Out]: yield",
]

WITH_FIELD = """
class Nowhere: pass

class Work(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    %s

@handler('work')
def f(work: Work, task: TaskContext) -> Out: ...
"""
WITH_MODEL = "%s\n@handler('work')\ndef f(%stask: TaskContext) -> %s: ..."
WITH_FAILURE = f"%s\n@handler('work', failures=%s){FUNCTION}"

SAMPLES = [
    *DECLARATIONS,
    *(WITH_FIELD % field for field in FIELDS),
    *(WITH_MODEL % model for model in MODELS),
    *(WITH_FAILURE % failure for failure in FAILURES),
    *(f"@lifespan\n{function}" for function in LIFESPANS),
]
