"""Who a server runs as: PostgreSQL refuses to run as root, and containers and CI machines often are."""

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_UNPRIVILEGED = "nobody"


class AccountError(Exception):
    """There is no way to run unprivileged here; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user to run as; the default is the one who asks."""

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()
    """Put before a command; it changes the user itself, then uid and gid are None."""
    owner: tuple[int, int] | None = None
    """User and group whose files the server works on; None: leave them."""

    @property
    def groups(self) -> list[int] | None:
        """No further groups when the user changes."""
        return None if self.uid is None else []

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line that runs `arguments` as this account."""
        return [*self.prefix, *arguments]

    def take_over(self, folder: Path) -> None:
        """Give a folder and all in it to the account, where it is not its own already. Raises AccountError."""
        if self.owner is None or folder.stat().st_uid == self.owner[0]:
            return
        uid, gid = self.owner
        try:
            for path in (*folder.rglob("*"), folder):
                os.chown(path, uid, gid, follow_symlinks=False)
        except OSError as error:
            message = f"cannot give {folder} to user {uid} ({error.strerror}): run as a normal user"
            raise AccountError(message) from error


def unprivileged_account(paths: Iterable[Path]) -> Account:
    """The account for a server that must not be root and works on `paths`. Raises AccountError.

    Where a parent of a path is closed to others (a checkout in root's home), the server runs in a user namespace: it
    sees itself as another user and is root to the files, so the folders stay as closed as they are.
    """
    if os.geteuid() != 0:
        return Account()
    try:
        user = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise AccountError(f"there is no user {_UNPRIVILEGED}: run the local stack as a normal user") from error
    closed = next((part for path in paths if (part := closed_part(path)) is not None), None)
    if closed is None:
        return Account(uid=user.pw_uid, gid=user.pw_gid, owner=(user.pw_uid, user.pw_gid))
    namespace = (shutil.which("unshare") or "unshare", "--user", f"--map-user={user.pw_uid}", "--map-group=0")
    if not _runs(namespace):
        message = f"{closed} is closed to user {_UNPRIVILEGED}: run `chmod o+x {closed}`, or work in an open folder"
        raise AccountError(message)
    return Account(prefix=namespace, owner=(0, 0))


def closed_part(path: Path) -> Path | None:
    """The first part of a path that stops a user who owns nothing of it; None where all are open.

    A path that does not exist yet is judged by its parents.
    """
    path = path.resolve()
    for parent in reversed(path.parents):
        if parent.is_dir() and not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return path if path.is_file() and not path.stat().st_mode & stat.S_IROTH else None


def _runs(prefix: tuple[str, ...]) -> bool:
    try:
        return subprocess.run([*prefix, "true"], capture_output=True, timeout=10, check=False).returncode == 0  # noqa: S603 - see above
    except (OSError, subprocess.TimeoutExpired):
        return False
