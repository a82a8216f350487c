"""Which fault tests run when: `make faults` runs all, `make test` those that are over in a minute."""

import os

LONG = "TASKQL_LONG_FAULTS"

collect_ignore = [] if os.environ.get(LONG) else ["test_mutants.py", "test_nemesis.py"]
