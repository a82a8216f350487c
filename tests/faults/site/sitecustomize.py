"""Python imports this by its name at every start where this folder is on PYTHONPATH: the tests' way into the
API and the consumers. It leaves every other process alone, a handler's among them.
"""

import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path

PR_SET_PDEATHSIG = 1
ROLES = (["-m", "gql"], ["-m", "consumer"])


def intrude(role: str) -> None:
    if sys.platform == "linux":  # the tests may be killed like anything else
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    sys.path.insert(0, os.environ["TASKQL_FAULTS_ROOT"])  # what `-m` adds comes only later
    from tests.faults import failpoints, mutants

    if folder := os.environ.get(failpoints.FOLDER):
        failpoints.install(Path(folder), role)
    if role == "gql" and (seconds := os.environ.get(failpoints.WELCOME_SECONDS)):
        failpoints.slow_down_welcomes(float(seconds))
    if mutant := os.environ.get(mutants.MUTANT):
        mutants.install(mutant, role)
    sys.path.pop(0)


if sys.orig_argv[1:] in ROLES:
    try:
        intrude(sys.orig_argv[2])
    except BaseException:  # Python would go on without us, and a mutant would be none
        traceback.print_exc()
        os._exit(70)
