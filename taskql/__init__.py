"""TaskQL runs work for you and shows it live. This is what handler authors import."""

from taskql.context import TaskContext
from taskql.errors import Permanent, Retryable
from taskql.handler import handler
from taskql.lifespan import lifespan
from taskql.shapes import BigInt

__all__ = ["BigInt", "Permanent", "Retryable", "TaskContext", "handler", "lifespan"]
