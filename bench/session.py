"""What all measurements share: the services, how much is done, and the programs that do it.

Invariant: a program that was started here has ended when its call has, however that ends.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.entrants import PYTHON
from bench.noise import CpuMeter
from bench.ours import Ours
from bench.peer import PEERS, Peer
from bench.server import CLIENT_CORE
from taskql.devstack import DevStack

LIMIT_SECONDS = 240.0


@dataclass(frozen=True)
class Session:
    stack: DevStack
    folder: Path
    seconds: float
    """Of a measurement in a closed loop."""
    scale: float = 1.0
    """Of the numbers of tasks and watchers: less than one for a mere trial."""

    @property
    def services(self) -> dict[str, int]:
        return {
            "postgres": self.stack.postgres.pid,
            "redis": self.stack.valkey.pid,
            "sqs": self.stack.sqs.pid,
        }

    def many(self, count: int) -> int:
        return max(1, int(count * self.scale))

    async def load(
        self, server: Ours | Peer, mode: str, *arguments: object, **changes: Any
    ) -> dict[str, Any]:
        """What the load generator found; `changes` to its profile."""
        profile = self.folder / "profile.json"
        profile.write_text(json.dumps({**server.profile, **changes}))
        pids = ",".join(f"{name}={pid}" for name, pid in {**server.pids, **self.services}.items())
        command = [str(PEERS / "loadgen.py"), mode, "--profile", str(profile), "--pids", pids]
        found = await ran([PYTHON, *command, "--core", str(CLIENT_CORE), *map(str, arguments)], None)
        if found.get("errors") or found.get("lost") or found.get("done", 0) < found.get("n", 0):
            raise RuntimeError(f"{server.name}, {mode}: {found}")
        return found

    async def driven(self, peer: Peer, *arguments: object) -> dict[str, Any]:
        """What a queue's own client found, with the CPU time of all processes."""
        pinned = ["taskset", "-c", str(CLIENT_CORE), *peer.driver]
        with CpuMeter({**peer.pids, **self.services}) as meter:
            found = await ran([*pinned, *map(str, arguments)], peer.env)
        found["cpu"] = {name: used / found["ops"] * 1e6 for name, used in meter.used.items()}
        if "client_us" in found:
            found["cpu"]["server"] = found["client_us"]
        return found


async def ran(command: list[str], env: Mapping[str, str] | None) -> dict[str, Any]:
    """A program's last line, which is JSON."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=PEERS, env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[1:3])}: {err.decode()[-800:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found
