"""PostgreSQL, Valkey and an SQS emulator on this machine, from wheels: no Docker, no installed services."""

from taskql.devstack.errors import DevStackError
from taskql.devstack.stack import DevStack

__all__ = ["DevStack", "DevStackError"]
