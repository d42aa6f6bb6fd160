"""Locations of the servers' files: accessible to an unprivileged server, without changing parent directories."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from infrastructure.embedded.errors import EmbeddedError
from infrastructure.embedded.processes import Account, run, unprivileged_account

_FAR_PLACE = Path("/var/tmp")  # noqa: S108
_LONGEST_SOCKET_PATH = 100
"""Bytes. The kernel's limit with the closing NUL is 108 on Linux and 104 on macOS."""
_LONGEST_SOCKET_NAME = len("/.s.PGSQL.5432.lock")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")


def cluster_directory(data: Path, account: Account | None) -> Path:
    """The directory of the database cluster, `<data>/postgres`, owned by the server's user.

    If that user cannot access `<data>` (root's clone in a 0700 directory), the cluster is below /var/tmp, and
    `<data>/postgres` is a link to it: a wider mode of a parent directory would expose other files.
    """
    place = data / "postgres"
    if place.is_symlink():
        cluster = place.resolve()
        if not cluster.is_dir():
            raise EmbeddedError(f"{place} points to {cluster}, which is gone: remove the link to start with no data")
        return cluster
    place.mkdir(mode=0o700, exist_ok=True)
    _change_owner(place, account)
    if _may_enter(place, account):
        return place.resolve()
    far = Path(tempfile.mkdtemp(prefix=f"convene-{_digest(data)}-", dir=_FAR_PLACE))
    cluster = far / "postgres"
    shutil.move(place, cluster)
    _change_owner(far, account)
    place.symlink_to(cluster)
    return cluster


def server_account(data: Path) -> Account | None:
    """The account of the servers: None (the current user) unless it is root, then the owner of an existing cluster, or
    `nobody`.

    If root starts in an ordinary user's data directory, the directory stays owned by that user.
    """
    account = unprivileged_account()
    cluster = data / "postgres"
    if account is None or not (cluster / "PG_VERSION").exists():
        return account
    owner = cluster.stat()
    return account if owner.st_uid == 0 else Account(f"user {owner.st_uid}", owner.st_uid, owner.st_gid)


def socket_directory(data: Path, account: Account | None) -> Path:
    """A 0700 directory for sockets: `<data>/run`, or a short one in the system's temporary directory.

    The short one is used for paths over the kernel's limit, paths with characters that are invalid in a connection
    string, and paths that the server's user cannot access.
    """
    near = data / "run"
    if _fits_a_socket(near):
        near.mkdir(mode=0o700, exist_ok=True)
        _change_owner(near, account)
        near.chmod(0o700)
        if _may_enter(near, account):
            return near.resolve()
    name = f"convene-{_digest(data)}-{account.uid if account else os.geteuid()}"
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108
        short = parent / name
        if not _fits_a_socket(short):
            continue
        short.mkdir(mode=0o700, exist_ok=True)
        found = short.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), account.uid if account else -1}:
            raise EmbeddedError(f"{short} belongs to another user: remove it, or choose another --data directory")
        short.chmod(0o700)
        _change_owner(short, account)
        if _may_enter(short, account):
            return short
    raise EmbeddedError("no directory for the servers' sockets: set TMPDIR to a short path that all users can enter")


def packaged_program(package: str, tree: str, program: str, account: Account | None) -> Path | None:
    """The program `<package>/<tree>/<program>`, executable for the account; None if the package is not installed.

    The package is located, not imported, because its import may have side effects. If the account cannot access the
    virtual environment, the program is copied once below /var/tmp, with the libraries of the wheel.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent
    found = place / tree / program
    if not found.is_file():
        return None
    if _runs(found, account):
        return found
    if account is None:
        raise EmbeddedError(f"{found} does not run on this machine: give DATABASE_URL and REDIS_URL")
    # The programs look for their libraries by relative paths, hence the same layout.
    parts = [part for part in (place / tree, place.with_name(f"{package}.libs")) if part.is_dir()]
    copy = _copied(place.parent, parts, package, tree) / found.relative_to(place.parent)
    if not _runs(copy, account):
        raise EmbeddedError(f"{copy} does not run as {account.name}: give DATABASE_URL and REDIS_URL")
    return copy


def _copied(origin: Path, parts: list[Path], package: str, tree: str) -> Path:
    """A copy of parts of a package that all users can access, created once for each tree of a package.

    If several processes need it, one copies and the others wait.
    """
    try:
        label = f"{package}-{version(package.replace('_', '-'))}"
    except PackageNotFoundError:
        label = f"{package}-{_digest(origin)}"
    copy = _FAR_PLACE / f"convene-{label}-{tree.replace('/', '-')}"
    if copy.is_symlink() or (copy.exists() and (copy.stat().st_uid != os.geteuid() or copy.stat().st_mode & 0o022)):
        raise EmbeddedError(f"{copy} was not made by root: remove it and start again")
    with _lock(copy.with_name(f"{copy.name}.lock")):
        wanted = {path.relative_to(origin) for part in parts for path in part.rglob("*")}
        if not copy.exists() or not all((copy / path).exists() for path in wanted):
            _copy(origin, parts, copy)
    return copy


def _copy(origin: Path, parts: list[Path], copy: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix="convene-", dir=_FAR_PLACE))
    # shutil.copy, not copy2: a cleaner of /var/tmp would delete files with the old times.
    for part in parts:
        shutil.copytree(part, fresh / part.relative_to(origin), symlinks=True, copy_function=shutil.copy)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
    if copy.exists():
        shutil.rmtree(copy)
    fresh.rename(copy)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """A lock of one process at a time, which the kernel releases when the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _change_owner(directory: Path, account: Account | None) -> None:
    if account is None:
        return
    for path in (directory, *directory.rglob("*")):
        if path.lstat().st_uid != account.uid:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _may_enter(directory: Path, account: Account | None) -> bool:
    return account is None or run(["/bin/sh", "-c", 'cd "$1"', "sh", directory], account=account).returncode == 0


def _runs(program: Path, account: Account | None) -> bool:
    return run([program, "--version"], account=account).returncode == 0


def _fits_a_socket(directory: Path) -> bool:
    text = str(directory.absolute())
    return len(text) + _LONGEST_SOCKET_NAME <= _LONGEST_SOCKET_PATH and _PLAIN_PATH.fullmatch(text) is not None


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]
