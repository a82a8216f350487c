"""The devstack's file lock, and whom it names where it is taken."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskql.devstack.lock import Lock


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Lock]:
    lock = Lock(tmp_path / "the.lock")
    yield lock
    lock.let_go()


def test_a_free_lock_is_taken_and_let_go_free_again(lock: Lock) -> None:
    for _ in range(2):
        assert lock.taken_by(0) is None
        lock.let_go()


def test_its_holder_is_named(lock: Lock) -> None:
    assert lock.acquire(0)
    assert Lock(lock.path).taken_by(0) == f"pid {os.getpid()}"


def test_its_holder_is_found_behind_descriptors_that_come_and_go(lock: Lock) -> None:
    """Our own are listed by way of one, which is gone by the time that it is looked at."""
    low = os.open("/dev/null", os.O_RDONLY)
    assert lock.acquire(0)
    assert low < lock.descriptor
    os.close(low)
    assert lock.holders() == [os.getpid()]


def test_who_inherited_it_holds_it(lock: Lock) -> None:
    assert lock.acquire(0)
    with subprocess.Popen(["/bin/sleep", "60"], pass_fds=[lock.descriptor]) as heir:
        lock.let_go()
        try:
            assert Lock(lock.path).taken_by(0) == f"pid {heir.pid}"
        finally:
            heir.kill()
    assert lock.taken_by(0) is None


def test_who_only_reads_the_file_does_not_hold_it(lock: Lock) -> None:
    assert lock.acquire(0)
    lock.let_go()
    with lock.path.open():
        assert lock.holders() == []


def test_a_lock_that_nobody_is_found_to_hold_any_more_is_taken(
    lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lock.acquire(0)
    other = Lock(lock.path)

    def ended_meanwhile() -> list[int]:
        lock.let_go()
        return []

    monkeypatch.setattr(other, "holders", ended_meanwhile)
    assert other.taken_by(0) is None
    other.let_go()


def test_a_holder_that_may_not_be_looked_into_is_another_users(
    lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lock.acquire(0)
    other = Lock(lock.path)
    monkeypatch.setattr(other, "holders", list)
    assert other.taken_by(0) == "another user's"
