"""For handlers' tests: `perform` runs one attempt without any service; `taskql.testing.plugin` is a pytest
plugin that runs tasks through the whole system.
"""

from taskql.errors import InvalidInput
from taskql.testing.run import Run, perform, perform_sync

__all__ = ["InvalidInput", "Run", "perform", "perform_sync"]
