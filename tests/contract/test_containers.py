"""Dockerfile and docker-compose.yml, which no engine runs here: held against the code, and run without it."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import yaml

from gql.serving import DRAIN_SECONDS
from taskql.devstack import DevStack
from taskql.settings import Settings
from tests.deployment import (
    QUEUES,
    ROOT,
    START_SECONDS,
    Deployment,
    aws_client,
    free_port,
    is_ready,
    poll,
    sqs_client,
)

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("api", "consumer", "migrate")
THEIRS = ("postgres", "valkey", "sqs")
ADDRESSES = ("DATABASE_URL", "REDIS_URL", "AWS_ENDPOINT_URL", *QUEUES)
AWS_SDK = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
UNWANTED = [
    ".env",
    ".venv",
    ".taskql",
    ".git",
    "tests",
    "web/node_modules",
    "web/dist",
    "requirements/dev.txt",
]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with what follows each."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    parts = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in parts]


def copies() -> list[tuple[list[str], str]]:
    """What is copied from the checkout, and where to."""
    plain = [words.split() for name, words in instructions() if name == "COPY" and "--from" not in words]
    return [(sources, target) for *sources, target in plain]


def last_stage() -> list[tuple[str, str]]:
    steps = instructions()
    return steps[max(index for index, (name, _) in enumerate(steps) if name == "FROM") :]


def image_files() -> list[str]:
    """What the last stage takes from the checkout."""
    copied = [rest.split()[0] for name, rest in last_stage() if name == "COPY" and "--from" not in rest]
    return [source.rstrip("/") for source in copied]


def seconds(duration: str) -> int:
    amount, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()  # type: ignore[union-attr]
    return int(amount) * {"s": 1, "m": 60}[unit]


def settings_of(service: str) -> Settings:
    """What the service would read from its environment."""
    given = {name.lower(): value for name, value in SERVICES[service]["environment"].items()}
    return Settings(**{name: value for name, value in given.items() if name in Settings.model_fields})


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out; the last line that fits decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#") and fits(pattern, path):
            ignored = not line.startswith("!")
    return ignored


def fits(pattern: str, path: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", "[^/]*")
    return re.match(f"{expression}(/|$)", path) is not None


# ---------------------------------------------------------------- the image


def test_what_is_copied_is_there_and_not_ignored() -> None:
    sources = [source.rstrip("/") for group, _ in copies() for source in group]
    assert {"gql", "consumer", "taskql", "requirements/run.txt", "web"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source


def test_ignored_paths_that_are_named_again_exist() -> None:
    named = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("path", UNWANTED)
def test_secrets_and_ballast_stay_outside(path: str) -> None:
    assert is_ignored(path)


def test_last_stage_has_the_application_and_nothing_else() -> None:
    assert set(image_files()) == {"schema.graphql", "gql", "consumer", "taskql"}
    stages = {rest.split(" AS ")[1] for name, rest in instructions() if name == "FROM" and " AS " in rest}
    foreign = [rest.split() for name, rest in last_stage() if name == "COPY" and "--from" in rest]
    assert {words[0].removeprefix("--from=") for words in foreign} == stages == {"web", "packages"}


def test_packages_are_those_of_the_locked_list() -> None:
    [install] = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert "--require-hashes" in install
    assert install.endswith("-r run.txt")


def test_image_does_not_run_as_root() -> None:
    [user] = [rest for name, rest in last_stage() if name == "USER"]
    assert int(user.split(":")[0]) > 0


def test_process_is_started_without_a_shell_so_that_signals_reach_it() -> None:
    [command] = [rest for name, rest in last_stage() if name == "CMD"]
    assert yaml.safe_load(command) == SERVICES["api"]["command"]
    assert ("STOPSIGNAL", "SIGTERM") in last_stage()
    assert "PYTHONUNBUFFERED=1" in dict(last_stage())["ENV"]


def test_every_image_has_a_version() -> None:
    built = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    for image in built + [SERVICES[name]["image"] for name in THEIRS]:
        assert re.search(r":\d+\.?\d*", image), image


def test_emulator_is_the_one_that_the_tests_run_on() -> None:
    version = SERVICES["sqs"]["image"].rpartition(":")[2]
    assert f"ministack=={version}\n" in (ROOT / "requirements" / "emulator.in").read_text()


# ---------------------------------------------------------------- the services


def test_services_are_ours_and_what_we_need() -> None:
    assert set(SERVICES) == {*OURS, *THEIRS}


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_a_setting(service: str) -> None:
    known = {name.upper() for name in Settings.model_fields} | AWS_SDK
    assert SERVICES[service]["environment"].keys() <= known


@pytest.mark.parametrize("service", OURS)
def test_required_settings_are_set_and_valid(service: str) -> None:
    settings_of(service)
    assert SERVICES[service]["environment"].keys() >= AWS_SDK


@pytest.mark.parametrize("service", OURS)
def test_command_is_a_module_of_ours(service: str) -> None:
    python, option, module, *_ = SERVICES[service]["command"]
    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(f"{module}.__main__")


@pytest.mark.parametrize("service", OURS)
@pytest.mark.parametrize("setting", ADDRESSES)
def test_address_is_that_of_a_service(service: str, setting: str) -> None:
    port: dict[str | None, int] = {"postgres": 5432, "valkey": 6379, "sqs": 4566}
    address = urlsplit(SERVICES[service]["environment"][setting])
    assert address.port == port[address.hostname]


def test_database_has_the_user_whom_we_name() -> None:
    url = urlsplit(SERVICES["api"]["environment"]["DATABASE_URL"])
    server = SERVICES["postgres"]["environment"]
    assert (url.username, url.password, url.path) == (
        server["POSTGRES_USER"],
        server["POSTGRES_PASSWORD"],
        f"/{server['POSTGRES_DB']}",
    )


def test_api_is_published_on_this_machine_alone_and_nothing_else_is() -> None:
    settings = settings_of("api")
    assert settings.host == "0.0.0.0"
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:{settings.port}:{settings.port}"]
    assert ("EXPOSE", str(settings.port)) in last_stage()
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]


def test_consumers_can_be_many() -> None:
    assert not {"container_name", "ports", "hostname"} & SERVICES["consumer"].keys()


def test_everything_starts_after_what_it_needs() -> None:
    healthy, done = "service_healthy", "service_completed_successfully"
    conditions = {
        name: {need: how["condition"] for need, how in SERVICES[name]["depends_on"].items()} for name in OURS
    }
    ready = {"migrate": done, "valkey": healthy, "sqs": healthy}
    assert conditions == {"migrate": {"postgres": healthy}, "api": ready, "consumer": ready}
    for needs in conditions.values():
        assert all("healthcheck" in SERVICES[name] for name, how in needs.items() if how == healthy)


def test_nothing_is_killed_before_it_has_stopped_by_itself() -> None:
    consumer = settings_of("consumer")
    longest = (consumer.poll + consumer.drain).total_seconds()
    assert seconds(SERVICES["consumer"]["stop_grace_period"]) > longest
    assert seconds(SERVICES["api"]["stop_grace_period"]) > DRAIN_SECONDS


def test_data_outlives_its_container() -> None:
    [volume] = SERVICES["postgres"]["volumes"]
    assert volume == "postgres:/var/lib/postgresql"  # where PostgreSQL 18's image keeps it
    assert "results:/tmp/ministack-data/s3" in SERVICES["sqs"]["volumes"]  # as the emulator's image keeps it
    assert COMPOSE["volumes"].keys() == {"postgres", "results"}


def test_files_that_are_mounted_exist() -> None:
    mounted = [volume.split(":")[0] for name in SERVICES for volume in SERVICES[name].get("volumes", [])]
    files = [path for path in mounted if path.startswith(".")]
    assert files == ["./deploy/queues.py"]
    assert (ROOT / files[0]).is_file()


# ---------------------------------------------------------------- the very same, run without containers


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the image's last stage takes from the checkout, and no others."""
    folder = tmp_path_factory.mktemp("image")
    for name in image_files():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
async def site(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A database and queues, with no process on them."""
    async with Deployment(stack, tmp_path_factory.mktemp("site")) as site:
        yield site


def environment(service: str, site: Deployment) -> dict[str, str]:
    """The service's variables and no others, each address replaced by that of the same thing here."""
    given: Mapping[str, str] = SERVICES[service]["environment"]
    here = {name: site.env[name] for name in (*ADDRESSES, "HOST", "PORT") if name in given}
    # Stopping, a consumer lets its open poll finish: 20 s that tell a test nothing.
    return {"PATH": os.environ["PATH"], **given, **here, "TASKQL_POLL_SECONDS": "1"}


def run(command: list[str], env: Mapping[str, str], folder: Path) -> str:
    """Run a command of a container to its end, and well; what it printed."""
    done = subprocess.run(
        [sys.executable, *command[1:]],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(service: str, image: Path, site: Deployment) -> Iterator[Path]:
    """The service as its container would run it, stopped as an engine would stop it; its log."""
    log = site.folder / f"{service}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, *SERVICES[service]["command"][1:]],
            cwd=image,
            env=environment(service, site),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield log
        process.terminate()
        assert process.wait(seconds(SERVICES[service]["stop_grace_period"])) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def health_check(service: str, address: str, here: str) -> list[str]:
    """The service's own health check, as a command that asks `here` instead of its own container."""
    method, *command = SERVICES[service]["healthcheck"]["test"]
    assert method == "CMD"
    assert address in command[-1]
    return [word.replace(address, here) for word in command]


def test_commands_bring_tasks_to_their_end(image: Path, site: Deployment) -> None:
    run(SERVICES["migrate"]["command"], environment("migrate", site), image)
    with running("api", image, site), running("consumer", image, site) as consumer:
        poll(lambda: is_ready(site.url), START_SECONDS)
        poll(lambda: "ready" in consumer.read_text(), START_SECONDS)
        run(health_check("api", "http://127.0.0.1:8000", site.url), {}, image)
        report = run(["python", "-m", "taskql", "verify", "--url", site.url], {}, image)
    assert report.endswith("All is well.\n")


def test_health_check_fails_while_nothing_serves(image: Path) -> None:
    command = health_check("api", "http://127.0.0.1:8000", f"http://127.0.0.1:{free_port()}")
    assert subprocess.run([sys.executable, *command[1:]], capture_output=True, check=False).returncode == 1


def test_emulator_makes_the_queues_and_the_bucket_that_the_services_name(
    stack: DevStack, tmp_path: Path
) -> None:
    env = {name: stack.env[name] for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", *AWS_SDK)}
    env["RESULTS_BUCKET"] = f"results-{uuid4()}"
    for _ in range(2):  # it does so at each start
        run(["python", str(ROOT / "deploy" / "queues.py")], env, tmp_path)
    run(health_check("sqs", "http://127.0.0.1:4566", stack.env["AWS_ENDPOINT_URL"]), {}, tmp_path)

    sqs = sqs_client(stack.env)
    attributes: dict[str, dict[str, str]] = {}
    for setting in QUEUES:
        path = urlsplit(SERVICES["consumer"]["environment"][setting]).path
        made = sqs.get_queue_url(QueueName=path.rpartition("/")[2])["QueueUrl"]
        assert urlsplit(made).path == path
        found = sqs.get_queue_attributes(QueueUrl=made, AttributeNames=["All"])["Attributes"]
        assert (found.get("FifoQueue") == "true") is made.endswith(".fifo")
        attributes[made] = found
    settings = settings_of("consumer")
    assert aws_client("s3", stack.env).head_bucket(Bucket=env["RESULTS_BUCKET"])
    assert SERVICES["sqs"]["environment"]["RESULTS_BUCKET"] == settings.results_bucket
    for queue, url in settings.queue_urls.items():
        policy = json.loads(attributes[here(url, stack)]["RedrivePolicy"])
        letters = here(settings.dead_letter_urls[queue], stack)
        assert policy["deadLetterTargetArn"] == attributes[letters]["QueueArn"]


def here(url: str, stack: DevStack) -> str:
    """The URL of a container's queue on the emulator of this test."""
    return stack.env["AWS_ENDPOINT_URL"] + urlsplit(url).path
