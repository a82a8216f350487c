"""Logging of our processes: a line an event, to standard error."""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
QUIET = ("aiobotocore", "boto3", "botocore", "urllib3", "asyncio", "alembic")
"""Libraries whose own chatter is shown from warnings up."""


def set_up_logging(level: str) -> None:
    logging.basicConfig(level=level.upper(), format=FORMAT, stream=sys.stderr)
    logging.getLogger().setLevel(level.upper())  # where Lambda has put a handler, the line above did nothing
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
