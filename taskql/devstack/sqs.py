"""SQS, with S3 and SNS beside it: ministack, in an environment of its own (its pins conflict with ours).

Invariant: the addresses of the queues stay the same as long as the data folder keeps its port.
"""

import contextlib
import http.client
import json
import os
import random
import shutil
import socket
from pathlib import Path
from typing import ClassVar

from taskql.devstack import queues
from taskql.devstack.errors import DevStackError
from taskql.devstack.folder import Folder
from taskql.devstack.server import Server

EMULATOR = Path(__file__).with_name("emulator.py")
CHECKOUT = Path(__file__).resolve().parents[2]
# Below those that the kernel gives to outgoing connections: one of them could take our port in a restart.
PORTS = range(20_000, 32_000)
PORT_TRIES = 100
ASK_SECONDS = 1.0


class Sqs(Server):
    name: ClassVar[str] = "sqs"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._data = folder.path / "sqs"
        self._port_note = self._data / "port"
        self._port = 0
        self._listener = -1

    @property
    def env(self) -> dict[str, str]:
        addresses = {setting: queues.url(self._port, name) for setting, (name, _) in queues.QUEUES.items()}
        return addresses | {
            "SNS_TOPIC_ARN": queues.TOPIC_ARN,
            "RESULTS_BUCKET": queues.BUCKET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_REGION": queues.REGION,
            "AWS_DEFAULT_REGION": queues.REGION,
            "AWS_ACCESS_KEY_ID": queues.KEY,
            "AWS_SECRET_ACCESS_KEY": queues.KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def prepare(self) -> None:
        shutil.rmtree(self._data / "tmp", ignore_errors=True)  # what a killed one unpacked there
        for folder in (self._data, self._data / "tmp"):
            folder.mkdir(mode=0o700, exist_ok=True)
        listener = self._listen()
        self._port = listener.getsockname()[1]
        self._listener = listener.detach()

    def descriptors(self) -> list[int]:
        return [self._listener]

    def launch(self) -> None:
        try:
            super().launch()
        finally:
            if self._listener >= 0:
                os.close(self._listener)  # it has its own: while it is down, callers are refused, not kept
                self._listener = -1

    def command(self) -> list[str]:
        return [python(), "-I", str(EMULATOR)]

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "GATEWAY_PORT": str(self._port),
            "LISTENER": str(self._listener),
            "REQUESTS": json.dumps(queues.requests(self._port)),
            "MINISTACK_HOST": "127.0.0.1",  # named outright: all callers get the same queue URLs
            "SERVICES": "sqs,s3,sns,lambda,cloudformation,iam,sts,logs",
            "IOT_MTLS_ENABLED": "0",  # it would listen on all interfaces
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": f"unix://{self._data}/none",  # else it tidies up in the user's Docker
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self._data / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self._data / "s3"),
            "TMPDIR": str(self._data / "tmp"),
            "LOG_LEVEL": "WARNING",
        }

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ASK_SECONDS)
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _listen(self) -> socket.socket:
        """Take the port of last time: settings that somebody copied stay true. Only a new stack may move."""
        last = self._last_port()
        candidates = [self._port] if self._port else [last, *random.sample(PORTS, PORT_TRIES)]
        for port in filter(None, candidates):
            with contextlib.suppress(OSError):
                listener = socket.create_server(("127.0.0.1", port))
                self._move_queues(last, port)
                self._port_note.write_text(str(port))
                return listener
        raise DevStackError(f"somebody else listens on 127.0.0.1:{candidates[0]} now; end that first")

    def _last_port(self) -> int:
        try:
            return int(self._port_note.read_text())
        except (FileNotFoundError, ValueError):  # none yet, or killed while writing it
            return 0

    def _move_queues(self, last: int, port: int) -> None:
        """The emulator knows its queues by their URL; it would not find them at another port."""
        state = self._data / "state" / "sqs.json"
        if port != last and state.exists():
            state.write_text(
                state.read_text().replace(f"http://127.0.0.1:{last}/", f"http://127.0.0.1:{port}/")
            )


def python() -> str:
    path = os.environ.get("TASKQL_EMULATOR_PYTHON") or str(CHECKOUT / ".venv-emulator" / "bin" / "python")
    if not os.access(path, os.X_OK):
        raise DevStackError(f"the SQS emulator's environment is missing ({path}); run `make setup`")
    return path
