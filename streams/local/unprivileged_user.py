"""Chooses the user of a server. PostgreSQL refuses to run as root, which containers and CI machines often use."""

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
    """A server cannot run unprivileged here. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user to run as; by default the current one."""

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()
    """A command prefix that changes the user; then uid and gid are None."""
    owner: tuple[int, int] | None = None
    """The user and group that own the server's files; None: do not change the owner."""

    @property
    def groups(self) -> list[int] | None:
        """Return the supplementary groups: none if the user changes."""
        return None if self.uid is None else []

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line that runs `arguments` as this account."""
        return [*self.prefix, *arguments]

    def change_owner(self, folder: Path) -> None:
        """Change the owner of a folder and its content to the account, unless it is the owner. Raises AccountError."""
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
    """Return the account for a server that must not be root and uses `paths`. Raises AccountError.

    If a parent of a path is closed to others (a checkout in root's home), the server keeps one capability, to pass
    closed folders (CAP_DAC_OVERRIDE, capabilities(7)). No permission changes, and a container needs no user namespace.
    """
    if os.geteuid() != 0:
        return Account()
    try:
        user = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise AccountError(f"there is no user {_UNPRIVILEGED}: run the local stack as a normal user") from error
    owner = (user.pw_uid, user.pw_gid)
    closed = next((part for path in paths if (part := inaccessible_part(path)) is not None), None)
    if closed is None:
        return Account(uid=user.pw_uid, gid=user.pw_gid, owner=owner)
    prefix = _with_capability(*owner)
    if not _runs(prefix):
        message = (
            f"{closed} is closed to user {_UNPRIVILEGED}, and `{' '.join(prefix[:1])}` of util-linux cannot pass the "
            f"capability dac_override: use an open folder, or run as a normal user"
        )
        raise AccountError(message)
    return Account(prefix=prefix, owner=owner)


def _with_capability(uid: int, gid: int) -> tuple[str, ...]:
    """Return the command prefix that changes the user and keeps only CAP_DAC_OVERRIDE, for child processes too.

    Without the secure bit, access(2) would ignore the capability, and PostgreSQL asks it about its own programs.
    """
    return (
        shutil.which("setpriv") or "setpriv",
        f"--reuid={uid}",
        f"--regid={gid}",
        "--clear-groups",
        "--bounding-set=-all,+dac_override",
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
        "--securebits=+no_setuid_fixup",
        "--no-new-privs",
    )


def inaccessible_part(path: Path) -> Path | None:
    """Return the first part of a path that an unprivileged user cannot enter or read; None if there is none.

    For a path that does not exist yet, its parents decide.
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
