"""The handlers that this deployment knows, by kind."""

import importlib
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType, ModuleType

from taskql.errors import HandlerRefused
from taskql.handler import Handler, declared

SHIPPED = ("process", "compute", "transform", "reverse", "fail", "countdown")


class Registry(Mapping[str, Handler]):
    """Handlers by kind, in the order in which they were found. Immutable."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        by_kind: dict[str, Handler] = {}
        for handler in handlers:
            known = by_kind.setdefault(handler.kind, handler)
            if known is not handler:
                raise HandlerRefused(
                    f"kind {handler.kind!r} has two handlers, {place(known)} and {place(handler)}: rename one"
                )
        self._by_kind = MappingProxyType(by_kind)

        self.max_attempts = MappingProxyType(
            {kind: handler.max_attempts for kind, handler in by_kind.items()}
        )

    def __getitem__(self, kind: str) -> Handler:
        return self._by_kind[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_kind)

    def __len__(self) -> int:
        return len(self._by_kind)


def load_registry(modules: Iterable[str] = ()) -> Registry:
    """The kinds that ship and those of the named modules."""
    names = [f"taskql.kinds.{kind}" for kind in SHIPPED] + list(modules)
    return Registry(handler for name in names for handler in handlers_in(import_module(name)))


def handlers_in(module: ModuleType) -> list[Handler]:
    """The handlers that a module's top level holds, its own and imported ones."""
    return [found for value in vars(module).values() if (found := declared(value))]


def import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except HandlerRefused:
        raise
    except (Exception, SystemExit) as error:  # a module that exits must not end us without a word
        raise HandlerRefused(
            f"the handler module {name!r} can't be imported: {type(error).__name__}: {error}{scene(error)}. "
            "Check TASK_HANDLERS and the Python path."
        ) from error


def scene(error: BaseException) -> str:
    """Where a module failed, if it got so far as to run."""
    foreign = (importlib.__file__, __file__)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in foreign and not frame.filename.startswith("<frozen ")
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def place(handler: Handler) -> str:
    return f"{handler.function.__module__}.{handler.function.__qualname__}"
