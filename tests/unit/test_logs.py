"""Logging of our processes."""

import logging
from collections.abc import Iterator

import pytest

from taskql.logs import QUIET, set_up_logging


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """All levels are afterwards as they were."""
    loggers = [logging.getLogger(name) for name in (None, *QUIET)]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_the_level_is_ours_where_somebody_set_up_logging_before_us(level: str) -> None:
    """Lambda's runtime has; pytest too."""
    assert logging.getLogger().handlers
    logging.getLogger().setLevel(logging.WARNING)
    set_up_logging(level)
    assert logging.getLogger().level == logging.getLevelName(level.upper())


def test_chatty_libraries_are_shown_from_warnings_up() -> None:
    set_up_logging("debug")
    assert logging.getLogger("botocore").level == logging.WARNING
