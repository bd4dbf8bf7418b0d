"""Releases of a package, through the registry's own client, as it is configured on this machine.

Nothing that is fetched is installed, built or run: an archive is only unpacked, in memory.
"""

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath


class Unreachable(Exception):
    """A registry did not give what was asked for."""


def releases(package, downloads):
    """Every pinned version of the package in order, each as {path: (bytes, executable)}."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=3) as pool:
        archives = pool.map(lambda version: archive(package, version, downloads), package.versions)
        return [unpacked(package, one) for one in archives]


def archive(package, version, downloads):
    """The archive of one release, fetched if it is not there yet."""
    kept = downloads / f"{package.client}-{package.name}-{version}"
    if kept.exists():
        return kept
    print(f"fetching {package.name} {version}", file=sys.stderr)
    # Outside of the repository, where no client takes it for the project that it is asked about.
    with tempfile.TemporaryDirectory() as scratch:
        fetched = CLIENTS[package.client](package.name, version, Path(scratch))
        # Into its name in one move: what lies under the name is whole.
        partial = kept.with_name(kept.name + ".partial")
        shutil.copyfile(fetched, partial)
        os.replace(partial, kept)
    return kept


def by_pip(name, version, scratch):
    # The wheel for any platform: the same file on every machine.
    any_platform = "--platform any --implementation py --abi none --python-version 3.11".split()
    plain = "--quiet --disable-pip-version-check --no-deps --only-binary :all: --dest .".split()
    run([sys.executable, "-m", "pip", "download", *plain, *any_platform, f"{name}=={version}"], scratch)
    return only(scratch.glob("*.whl"), name, version)


def by_npm(name, version, scratch):
    run(["npm", "pack", "--silent", "--ignore-scripts", f"{name}@{version}"], scratch)
    return only(scratch.glob("*.tgz"), name, version)


def by_cargo(name, version, scratch):
    # `info` needs no manifest, and leaves the whole crate in cargo's cache.
    run(["cargo", "info", "--quiet", f"{name}@{version}"], scratch)
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    return only(sorted(home.glob(f"registry/cache/*/{name}-{version}.crate"))[:1], name, version)


CLIENTS = {"pip": by_pip, "npm": by_npm, "cargo": by_cargo}


def run(command, directory):
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    except FileNotFoundError as missing:
        raise Unreachable(f"{command[0]} is not installed") from missing
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-4:]
        raise Unreachable("\n  ".join([f"`{' '.join(command)}` failed:", *said]))


def only(found, name, version):
    found = list(found)
    if len(found) != 1:
        raise Unreachable(f"{name} {version}: the client left {len(found)} archives where one was expected")
    return found[0]


def unpacked(package, path):
    """Regular files only, without the archive's own directory and metadata, which bear the version in their name."""
    files = {}
    for name, content, executable in (wheel if package.client == "pip" else tarball)(path):
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts:
            raise Unreachable(f"{path.name} holds a file outside itself: {name}")
        if package.client != "pip":
            inside = PurePosixPath(*inside.parts[1:])
        elif inside.parts[0].endswith((".dist-info", ".data")):
            continue
        files[str(inside)] = (content, executable)
    return files


def wheel(path):
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, archive.read(member), bool(member.external_attr >> 16 & 0o100)


def tarball(path):
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                yield member.name, archive.extractfile(member).read(), bool(member.mode & 0o100)
