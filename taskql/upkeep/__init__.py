"""Upkeep: relay, rescuer and what else keeps tasks moving. Runs inside every API and consumer process.

Invariant: any number of processes may run it at once; they share the work by SKIP LOCKED, and doing a piece
twice is harmless.
"""

from taskql.upkeep.relay import Relay
from taskql.upkeep.results import ResultSweeper
from taskql.upkeep.upkeep import Upkeep

__all__ = ["Relay", "ResultSweeper", "Upkeep"]
