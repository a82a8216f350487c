"""The handlers that this deployment knows, by kind."""

import importlib
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType, ModuleType

from taskql.errors import HandlerRefused
from taskql.handler import Handler, declared
from taskql.lifespan import Lifespan, declared_lifespan, one_of_each_type

SHIPPED = ("process", "compute", "transform", "reverse", "fail", "countdown")
ENTRY_POINTS = "taskql.handlers"
"""The group under which an installed package names its modules of handlers."""


class Registry(Mapping[str, Handler]):
    """Handlers by kind, in the order in which they were found, and the lifespans beside them. Immutable."""

    def __init__(self, handlers: Iterable[Handler], lifespans: Iterable[Lifespan] = ()) -> None:
        by_kind: dict[str, Handler] = {}
        for handler in handlers:
            known = by_kind.setdefault(handler.kind, handler)
            if known is not handler:
                raise HandlerRefused(
                    f"kind {handler.kind!r} has two handlers, {place(known)} and {place(handler)}: rename one"
                )
        self._by_kind = MappingProxyType(by_kind)
        self.lifespans = one_of_each_type(lifespans)
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
    """The kinds that ship, those of the named modules, and those that installed packages offer."""
    found = all_modules(modules)
    return Registry(
        (handler for module in found for handler in handlers_in(module)),
        (lifespan for module in found for lifespan in lifespans_in(module)),
    )


def all_modules(named: Iterable[str]) -> list[ModuleType]:
    """Every module of handlers, once each, however often it is named."""
    shipped = [import_module(f"taskql.kinds.{kind}") for kind in SHIPPED]
    of_settings = [with_handlers(import_module(name)) for name in named]
    installed = [with_handlers(import_offered(point)) for point in sorted(entry_points(group=ENTRY_POINTS))]
    return list({module.__name__: module for module in (*shipped, *of_settings, *installed)}.values())


def handlers_in(module: ModuleType) -> list[Handler]:
    """The handlers that a module's top level holds, its own and imported ones."""
    return [found for value in vars(module).values() if (found := declared(value))]


def lifespans_in(module: ModuleType) -> list[Lifespan]:
    """The lifespans that a module's top level holds, its own and imported ones."""
    return [found for value in vars(module).values() if (found := declared_lifespan(value))]


def import_module(
    name: str, known_as: str = "", way_out: str = "Check TASK_HANDLERS and the Python path."
) -> ModuleType:
    """The module, or a refusal that says why there is none; `known_as` tells who named it."""
    try:
        return importlib.import_module(name)
    except HandlerRefused:
        raise
    except (Exception, SystemExit) as error:  # a module that exits must not end us without a word
        cause = f"{type(error).__name__}: {error}{scene(error)}"
        raise HandlerRefused(
            f"the handler module {name!r}{known_as} can't be imported: {cause}. {way_out}"
        ) from error


def import_offered(point: EntryPoint) -> ModuleType:
    """The module that an installed package's entry point names."""
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
    whose = f"the entry point {point.name!r} of {package}"
    if not all(part.isidentifier() for part in point.value.split(".")):
        raise HandlerRefused(
            f"{whose} is {point.value!r}; name a module in the group {ENTRY_POINTS!r}, like 'acme.jobs'."
        )
    return import_module(point.value, f" ({whose})", f"Mend {package}, or uninstall it.")


def with_handlers(module: ModuleType) -> ModuleType:
    """The module, or a refusal where nobody would notice that it offers nothing."""
    if not handlers_in(module) and not lifespans_in(module):
        raise HandlerRefused(
            f"the handler module {module.__name__!r} has no handler at its top level; decorate a function "
            "there with @handler, or name the module that has them."
        )
    return module


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
