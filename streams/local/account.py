"""Who a server runs as: PostgreSQL refuses to run as root, and containers and CI machines often are."""

import os
import pwd
import shutil
import stat
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
            message = f"cannot give {folder} to user {_UNPRIVILEGED} ({error.strerror}): run as a normal user"
            raise AccountError(message) from error


def unprivileged_account(paths: Iterable[Path]) -> Account:
    """The account for a server that must not be root and works on `paths`. Raises AccountError.

    Where parents of a path are closed to others (a checkout below /root), the process keeps, of root's powers, the
    one to pass them: that leaves the folders as they are.
    """
    if os.geteuid() != 0:
        return Account()
    try:
        user = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise AccountError(f"there is no user {_UNPRIVILEGED}: run the local stack as a normal user") from error
    owner = (user.pw_uid, user.pw_gid)
    closed = next((path for path in paths if not open_to_others(path)), None)
    if closed is None:
        return Account(uid=user.pw_uid, gid=user.pw_gid, owner=owner)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        message = f"{closed} is closed to user {_UNPRIVILEGED}: use a folder that is not, or run as a normal user"
        raise AccountError(message)
    power = "+dac_override"
    who = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    return Account(prefix=(setpriv, *who, f"--inh-caps={power}", f"--ambient-caps={power}"), owner=owner)


def open_to_others(path: Path) -> bool:
    """Whether a user who owns nothing of it can reach a path, and read it if it is a file."""
    path = path.resolve()
    if path.is_file() and not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
