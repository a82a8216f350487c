"""How the API, the consumer and `taskql migrate` start: waiting for what is late, naming what is missing.

All three have the same wiring, so what one test shows of a service, a setting or a handler is asked of one
process; each of them is asked where it differs, and once for each kind of refusal.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from taskql.devstack import DevStack
from tests.deployment import ROOT, START_SECONDS, Deployment, Process, database_url, free_port, is_ready, poll
from tests.make_run import plain_environment

NEVER = {"TASKQL_PATIENCE_SECONDS": "3"}  # enough for an answer on a busy machine
LONG = {"TASKQL_PATIENCE_SECONDS": "60"}
OPENINGS = {
    "gql": "TaskQL: the API can't start.\n",
    "consumer": "TaskQL: the consumer can't start.\n",
    "taskql": "TaskQL: the database can't be migrated.\n",
}
BOTH = pytest.mark.parametrize("module", ["gql", "consumer"])
ALL = pytest.mark.parametrize("module", list(OPENINGS))


@pytest.fixture(scope="module")
async def site(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A migrated database and its queues, with no process on them."""
    async with Deployment(stack, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def late_stack(tmp_path: Path) -> Iterator[DevStack]:
    """A stack whose servers a test may stop."""
    with DevStack(data=tmp_path / "stack", say=lambda _: None) as stack:
        yield stack


@pytest.fixture
async def empty_database(stack: DevStack, site: Deployment) -> AsyncIterator[str]:
    """The URL of a database without tables."""
    name = f"{site.name}_empty"
    admin = await asyncpg.connect(stack.env["DATABASE_URL"])
    await admin.execute(f"CREATE DATABASE {name}")
    yield database_url(stack.env["DATABASE_URL"], name)
    await admin.execute(f"DROP DATABASE {name}")
    await admin.close()


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a server that wants a password of the user `guarded`; theirs is `right`."""
    with DevStack(data=tmp_path_factory.mktemp("guarded"), say=lambda _: None) as stack:
        url = stack.env["DATABASE_URL"]
        admin = await asyncpg.connect(url)
        await admin.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        rules = Path(await admin.fetchval("SHOW hba_file"))
        await admin.close()
        stack.postgres.stop()
        demand_password(rules, "guarded")
        stack.postgres.start()
        yield url.replace("://taskql@", "://guarded:right@")


def demand_password(rules: Path, user: str) -> None:
    """The first line of pg_hba.conf that fits is the one that counts."""
    rules.write_text(f"local all {user} scram-sha-256\n{rules.read_text()}")


def refusal(module: str, env: Mapping[str, str]) -> str:
    """The last words of a process that can't start, without their opening."""
    command = [sys.executable, "-m", module, *(["migrate"] if module == "taskql" else [])]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**plain_environment(), "PORT": str(free_port()), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    _, opening, reason = done.stderr.partition(OPENINGS[module])
    assert opening, done.stderr
    return reason


def without_aws(env: Mapping[str, str], home: Path) -> dict[str, str]:
    """An environment in which the AWS SDK finds no credentials wherever it looks."""
    others = {name: value for name, value in env.items() if not name.startswith("AWS_")}
    region = {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": env["AWS_ENDPOINT_URL"]}
    return others | region | {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(home)}


# ---------------------------------------------------------------- services that are away, or late


@ALL
def test_missing_postgresql_is_named_when_patience_is_over(site: Deployment, module: str) -> None:
    nobody = f"postgresql://user:secret@127.0.0.1:{free_port()}/taskql"
    reason = refusal(module, {**site.env, **NEVER, "DATABASE_URL": nobody})
    assert reason.startswith("PostgreSQL could not be reached for 3 s. PostgreSQL does not answer (Conn")
    assert reason.endswith("Start it, or correct DATABASE_URL.\n")
    assert "secret" not in reason


def test_silent_postgresql_tries_nobodys_patience(site: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/taskql"
        reason = refusal("consumer", {**site.env, **NEVER, "DATABASE_URL": url})
    assert reason.startswith("PostgreSQL could not be reached for 3 s.")


def test_missing_sqs_is_named_by_the_consumer(site: Deployment) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    reason = refusal("consumer", {**site.env, **NEVER, "AWS_ENDPOINT_URL": nobody})
    assert reason.startswith("SQS could not be reached for 3 s. SQS does not answer")
    assert nobody in reason
    assert reason.endswith("Start it, or correct the SQS_*_URL or AWS_ENDPOINT_URL.\n")


def test_all_that_is_missing_is_named_at_once(site: Deployment) -> None:
    away = {"DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/x"}
    reason = refusal(
        "consumer", {**site.env, **NEVER, **away, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    )
    assert [line.split()[0] for line in reason.splitlines()] == ["PostgreSQL", "SQS"]


async def test_processes_wait_for_services_that_come_late(late_stack: DevStack, tmp_path: Path) -> None:
    async with Deployment(late_stack, tmp_path) as late:
        late_stack.postgres.stop()
        late_stack.sqs.stop()
        env = {**late.env, **LONG}
        api = Process("gql", env, tmp_path / "api.log")
        consumer = Process("consumer", env, tmp_path / "consumer.log")
        late.processes += [api, consumer]
        poll(lambda: "waiting up to 60 s for PostgreSQL" in api.said, START_SECONDS)
        poll(lambda: "waiting up to 60 s for PostgreSQL" in consumer.said, START_SECONDS)
        poll(lambda: "waiting up to 60 s for SQS" in consumer.said, START_SECONDS)

        late_stack.postgres.start()
        poll(lambda: is_ready(late.url), START_SECONDS)  # it can do without SQS
        late_stack.sqs.start()
        late.make_queues()
        poll(lambda: "ready" in consumer.said or not consumer.alive, START_SECONDS)
        assert consumer.alive, consumer.said


@BOTH
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_process_that_waits_stops_when_asked(
    site: Deployment, tmp_path: Path, module: str, number: signal.Signals
) -> None:
    env = {"DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/x", "PORT": str(free_port())}
    process = Process(module, {**site.env, **LONG, **env}, tmp_path / "log")
    poll(lambda: "waiting up to 60 s" in process.said, START_SECONDS)
    process.signal(number)
    assert process.wait() == 0
    assert "Traceback" not in process.said


def test_interrupted_migration_ends_without_a_word(site: Deployment, tmp_path: Path) -> None:
    env = {**site.env, **LONG, "DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/x"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskql", "migrate"], cwd=ROOT, env={**os.environ, **env}, stderr=log
        )
    poll(lambda: "waiting" in (tmp_path / "log").read_text(), START_SECONDS)
    process.send_signal(signal.SIGINT)
    assert process.wait(START_SECONDS) == 130
    assert "Traceback" not in (tmp_path / "log").read_text()


# ---------------------------------------------------------------- the database


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("localhost/taskql", "DATABASE_URL is no URL; it looks like postgresql://"),
        ("postgresql://host:port/taskql", "DATABASE_URL is no URL; it looks like postgresql://"),
        ("mysql://localhost/taskql", "DATABASE_URL must start with postgresql://."),
        ("postgresql://localhost/x?colour=red", "DATABASE_URL has parameters that are not known: colour."),
    ],
)
def test_malformed_database_url_is_refused_at_once(site: Deployment, url: str, reason: str) -> None:
    assert refusal("gql", {**site.env, "DATABASE_URL": url}).startswith(reason)


@ALL
def test_database_that_does_not_exist_is_named_at_once(site: Deployment, module: str) -> None:
    url = database_url(site.env["DATABASE_URL"], "no_such_database")
    reason = refusal(module, {**site.env, **LONG, "DATABASE_URL": url})
    assert reason == (
        'PostgreSQL does not let us in: database "no_such_database" does not exist. Check DATABASE_URL.\n'
    )


def test_unknown_user_is_refused_at_once(site: Deployment) -> None:
    url = site.env["DATABASE_URL"].replace("://taskql@", "://stranger:secret@")
    reason = refusal("consumer", {**site.env, **LONG, "DATABASE_URL": url})
    assert reason == 'PostgreSQL does not let us in: role "stranger" does not exist. Check DATABASE_URL.\n'


def test_wrong_password_is_refused_at_once(site: Deployment, guarded: str) -> None:
    url = guarded.replace(":right@", ":wrong@")
    reason = refusal("gql", {**site.env, **LONG, "DATABASE_URL": url})
    assert reason == (
        'PostgreSQL does not let us in: password authentication failed for user "guarded". '
        "Check DATABASE_URL.\n"
    )


@BOTH
def test_database_without_tables_asks_for_the_migration(
    site: Deployment, empty_database: str, module: str
) -> None:
    reason = refusal(module, {**site.env, "DATABASE_URL": empty_database})
    assert "not migrated" in reason
    assert "python -m taskql migrate" in reason


@ALL
async def test_database_of_a_newer_version_is_left_alone(
    site: Deployment, empty_database: str, module: str
) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute(
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
        "INSERT INTO alembic_version VALUES ('9999')"
    )
    await connection.close()
    reason = refusal(module, {**site.env, "DATABASE_URL": empty_database})
    assert reason.startswith("A newer version of TaskQL has migrated the database (to 9999; ")


async def test_migration_that_postgresql_refuses_tells_why(site: Deployment, empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE tasks (in_the_way integer)")
    await connection.close()
    reason = refusal("taskql", {**site.env, "DATABASE_URL": empty_database})
    assert 'relation "tasks" already exists' in reason
    assert "nothing was changed" in reason


# ---------------------------------------------------------------- Redis and AWS


@pytest.mark.parametrize("url", ["localhost:6379", "redis://host:port/0"])
def test_malformed_redis_url_is_refused_at_once(site: Deployment, url: str) -> None:
    reason = refusal("consumer", {**site.env, "REDIS_URL": url})
    assert reason.startswith("REDIS_URL can't be used: ")
    assert "It looks like redis://" in reason


@pytest.mark.parametrize("setting", ["SQS_QUEUE_URL", "SQS_FIFO_DLQ_URL"])
def test_queue_url_without_a_scheme_is_refused_at_once(site: Deployment, setting: str) -> None:
    reason = refusal("gql", {**site.env, setting: "localhost/000000000000/taskql.fifo"})
    assert reason == f"{setting}: a queue's URL starts with https:// or http://\n"


@pytest.mark.parametrize("setting", ["SQS_QUEUE_URL", "SQS_FIFO_QUEUE_URL"])
def test_queue_that_is_not_there_is_named_at_once(site: Deployment, setting: str) -> None:
    url = site.env[setting].replace(site.name, "no-such-queue")
    reason = refusal("consumer", {**site.env, **LONG, setting: url})
    assert reason.startswith(f"The SQS queue {url} can't be used: ")
    assert reason.endswith("Check the SQS_*_URL or AWS_ENDPOINT_URL.\n")


def test_bucket_that_is_not_there_is_named_at_once(site: Deployment) -> None:
    reason = refusal("consumer", {**site.env, **LONG, "RESULTS_BUCKET": "no-such-bucket"})
    assert reason.startswith("The S3 bucket no-such-bucket can't be used: ")
    assert reason.endswith(" Check RESULTS_BUCKET.\n")


def test_aws_endpoint_without_a_scheme_is_refused_at_once(site: Deployment) -> None:
    endpoint = urlsplit(site.env["AWS_ENDPOINT_URL"]).netloc
    reason = refusal("consumer", {**site.env, "AWS_ENDPOINT_URL": endpoint})
    assert reason.startswith("AWS_ENDPOINT_URL can't be used: ")


@BOTH
def test_missing_aws_credentials_are_missed_at_once(site: Deployment, tmp_path: Path, module: str) -> None:
    reason = refusal(module, {**without_aws(site.env, tmp_path), **LONG})
    assert reason.startswith("There are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize(
    ("half", "reason"),
    [
        ({"AWS_ACCESS_KEY_ID": "x"}, "missing: AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nobody"}, "profile (nobody) could not be found"),
    ],
    ids=["half-a-key", "unknown-profile"],
)
def test_aws_settings_that_lead_nowhere_are_named(
    site: Deployment, tmp_path: Path, half: dict[str, str], reason: str
) -> None:
    said = refusal("gql", {**without_aws(site.env, tmp_path), **LONG, **half})
    assert said.startswith("The AWS SDK can't use its settings (AWS_*): ")
    assert reason in said


# ---------------------------------------------------------------- settings and handlers


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"PORT": "http"}, "PORT: "),
        ({"TASKQL_HEARTBEAT_SECONDS": "59"}, "TASKQL_HEARTBEAT_SECONDS must be less than half of"),
        ({"TASKQL_PATIENCE_SECONDS": "0"}, "TASKQL_PATIENCE_SECONDS: "),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set: "),
    ],
    ids=["port", "heartbeat", "patience", "nothing"],
)
def test_wrong_setting_is_named(site: Deployment, setting: dict[str, str], reason: str) -> None:
    assert refusal("consumer", {**site.env, **setting}).startswith(reason)


HANDLER = """
from taskql import TaskContext, handler

@handler("not a kind")
async def work(task: TaskContext) -> None: ...
"""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'mine'"),
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found' ({file}, line 1)"),
        ("\n1 / 0", "ZeroDivisionError: division by zero ({file}, line 2)"),
        ("exit(0)", "SystemExit: 0"),
        ("def work(:", "SyntaxError: "),
        (HANDLER, "mine.work (kind 'not a kind'): a kind is a camelCase GraphQL name"),
    ],
    ids=["missing", "its-import-missing", "raising", "exiting", "unreadable", "refused"],
)
def test_handler_module_that_can_not_be_used_is_named(
    site: Deployment, tmp_path: Path, source: str | None, reason: str
) -> None:
    file = tmp_path / "mine.py"
    if source is not None:
        file.write_text(source)
    said = refusal("consumer", {**site.env, "TASK_HANDLERS": "mine", "PYTHONPATH": str(tmp_path)})
    assert "mine" in said
    assert reason.format(file=file) in said


LIFESPAN = """
from collections.abc import Iterator
from taskql import lifespan

@lifespan
def connect() -> Iterator[bytes]:
    raise OSError("nobody answers")
    yield b""
"""


def test_a_lifespan_that_can_not_be_opened_is_named(site: Deployment, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LIFESPAN)
    said = refusal("consumer", {**site.env, "TASK_HANDLERS": "mine", "PYTHONPATH": str(tmp_path)})
    assert said == "The lifespan mine.connect could not be opened: OSError: nobody answers.\n"
