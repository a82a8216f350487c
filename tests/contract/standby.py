"""A PostgreSQL that follows another one by streaming replication, both from devstack."""

import shutil

from taskql.devstack.folder import Folder
from taskql.devstack.identity import Identity
from taskql.devstack.postgres import Postgres


class Standby(Postgres):
    """Made from the primary's files as they are; then it follows."""

    def __init__(self, folder: Folder, identity: Identity, primary: Postgres) -> None:
        super().__init__(folder, identity)
        self._primary = primary

    def _create(self) -> None:
        unfinished = self._data.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self.identity.own(unfinished)
        source = ("--host", str(self._primary._sockets), "--username=taskql")
        target = ("--pgdata", str(unfinished), "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        self.run_to_end([str(self._programs / "pg_basebackup"), *source, *target])
        unfinished.rename(self._data)
