"""What handlers take and return, read once from their annotations: what is stored, and what clients see."""

from taskql.shapes.bigint import BigInt
from taskql.shapes.shape import Inexpressible

__all__ = ["BigInt", "Inexpressible"]
