"""The fixture `taskql`: the whole system. Its project says `pytest_plugins = ["taskql.testing.plugin"]`.

It is started once, when a test first asks for it. The modules of handlers are named by `taskql_handlers` in
pytest's own settings, else by TASK_HANDLERS, else found by their entry points.
"""

from collections.abc import Iterator

import pytest

from taskql.testing.system import NotStarted, System


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("taskql_handlers", "Modules of handlers for the fixture `taskql`.", type="args")


@pytest.fixture(scope="session")
def taskql(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """TaskQL with your handlers: `await taskql.run("kind", {...})` answers with the finished task."""
    modules = request.config.getini("taskql_handlers")
    try:
        with System(modules, tmp_path_factory.mktemp("taskql")) as system:
            yield system
    except NotStarted as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
