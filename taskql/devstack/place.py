"""Where the data can be on this machine, and as whom PostgreSQL runs there.

An ordinary user: where he says, as himself. Root, whom PostgreSQL refuses, in the first way that works:
1. in a user namespace, where root appears as `nobody` while the files remain root's;
2. as the user `nobody`, if he can reach the data folder: no parent is opened for him;
3. the same, with the data in a folder of our own under /var/tmp.
"""

import getpass
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from taskql.devstack.errors import DevStackError
from taskql.devstack.folder import make_parents
from taskql.devstack.identity import CALLER, Identity, root_in_a_namespace, unprivileged

OPEN_TO_ALL = Path("/var/tmp")
CHOICE = "TASKQL_DEVSTACK_ROOT"  # userns | setuid: one way and no other, for tests


@dataclass(frozen=True)
class Place:
    data: Path
    identity: Identity


def find(data: Path, say: Callable[[str], None]) -> Place:
    if os.geteuid() != 0:
        return Place(data, CALLER)
    make_parents(data)  # whether somebody reaches them can't be asked before
    way = os.environ.get(CHOICE, "")
    if way != "setuid" and (identity := root_in_a_namespace()).reaches(data.parent):
        return Place(data, identity)
    if way != "userns" and (identity := unprivileged()).reaches(Path("/")):
        return Place(data if identity.reaches(data.parent) else _elsewhere(data, say), identity)
    raise DevStackError(
        "PostgreSQL refuses to run as root, and here root can neither make a user namespace nor become "
        f"another user{f' ({CHOICE}={way})' if way else ''}; run TaskQL as an ordinary user"
    )


def _elsewhere(data: Path, say: Callable[[str], None]) -> Path:
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:8]
    place = OPEN_TO_ALL / f"taskql-{getpass.getuser()}-{digest}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.geteuid():  # anybody may make folders here
        raise DevStackError(f"{place} belongs to somebody else; choose another data folder with DATA=…")
    say(f"PostgreSQL may not run as root and no other user can enter {data.parent}: the data is in {place}")
    return place
