"""Make Lambda's deployment package: `python -m deploy.package build/lambda.zip --arch arm64 --python 3.13`.

It holds taskql/, consumer/, what requirements/lambda.txt names (each file checked against its hash) and the
handlers' own folders or modules (`--extra`), all at the top. The same sources make the same bytes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements" / "lambda.txt"
OURS = ("taskql", "consumer")
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PLATFORMS = {
    "x86_64": "x86_64-manylinux_2_28",
    "arm64": "aarch64-manylinux_2_28",
    "native": None,
}
"""Where the package is to run, in uv's words; native is here, under this Python: for an emulator."""

MAX_BYTES = 250 * 1024 * 1024
"""What Lambda takes, unpacked."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip file knows."""
FILE_MODE = 0o100644


class PackageError(Exception):
    """What went wrong and what to do about it."""


def build(
    package: Path, arch: str = "x86_64", python: str = "3.13", extras: Sequence[Path] = ()
) -> tuple[int, int]:
    """Leave the package there, whole or not at all; how many bytes it has, packed and unpacked."""
    package.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{package.name}.", dir=package.parent) as temporary:
        site, packed = Path(temporary, "site"), Path(temporary, "zip")
        install(site, arch, python)
        for source in [*(ROOT / name for name in OURS), *extras]:
            add(source, site)
        if python == THIS_PYTHON:
            compile_all(site)
        unpacked = pack(site, packed)
        packed.replace(package)
    return package.stat().st_size, unpacked


def install(site: Path, arch: str, python: str) -> None:
    """The wheels for that platform and Python, without running any of them."""
    platform = PLATFORMS[arch]
    if platform is None and python != THIS_PYTHON:
        raise PackageError(f"a native package is for this Python, {THIS_PYTHON}, and not for {python}")
    target = ["--python-platform", platform, "--python-version", python] if platform else []
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", *target]
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        *options,
        "--target",
        str(site),
        "-r",
        str(REQUIREMENTS),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise PackageError(
            f"{done.stderr.rstrip()}\nuv could not fetch the wheels for Python {python} on {arch}. Make sure "
            "that `make setup` has run and the package registry can be reached, then run make lambda again."
        )
    for leftover in ("bin", "include"):  # commands, which name this machine's Python, and headers
        shutil.rmtree(site / leftover, ignore_errors=True)
    (site / ".lock").unlink(missing_ok=True)


def add(source: Path, site: Path) -> None:
    """A package's folder or a module's file, under its own name."""
    if not source.exists():
        raise PackageError(f"{source} is not there: EXTRA names a package's folder or a module's file")
    place = site / source.resolve().name
    if place.exists():
        raise PackageError(f"{source} can't be added: the package has a {place.name} already")
    if source.is_dir():
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__", "node_modules", ".*"))
    else:
        shutil.copyfile(source, place)


def compile_all(site: Path) -> None:
    """Lambda can't keep what it compiles, so each container would compile everything anew.

    With hashes instead of times, never checked. What can't be compiled is left to its importer.
    """
    names = ["-s", str(site), "-p", "/var/task"]  # where tracebacks will see the files
    options = ["-qq", "--invalidation-mode", "unchecked-hash", *names]
    command = [sys.executable, "-m", "compileall", *options, str(site)]
    subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "0"}, stdin=subprocess.DEVNULL, check=False)


def pack(site: Path, packed: Path) -> int:
    """Zip the files in one order and with one time; how many bytes they have."""
    files = sorted((path.relative_to(site).as_posix(), path) for path in site.rglob("*") if path.is_file())
    unpacked = sum(path.stat().st_size for _, path in files)
    if unpacked > MAX_BYTES:
        raise PackageError(f"{unpacked:,} bytes are more than Lambda takes ({MAX_BYTES:,}): leave some out")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, on every machine
            entry.external_attr = FILE_MODE << 16
            archive.writestr(entry, path.read_bytes())
    return unpacked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--arch", choices=PLATFORMS, default="x86_64")
    parser.add_argument("--python", default="3.13", help="the function's Python: 3.12 or newer at AWS")
    parser.add_argument("--extra", type=Path, action="append", default=[])
    asked = parser.parse_args()
    try:
        packed, unpacked = build(asked.package, asked.arch, asked.python, asked.extra)
    except PackageError as error:
        sys.exit(f"TaskQL: {error}")
    print(
        f"TaskQL: {asked.package} for Python {asked.python} on {asked.arch}: "
        f"{packed / 1e6:.0f} MB, unpacked {unpacked / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
