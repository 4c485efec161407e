"""Mail addresses of receivers and of the sender. Only addresses pass that cannot end a header or a command."""

import re
from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import parseaddr

from streams.dify.errors import RefusedError

_MAX_ADDRESS = 254
"""Characters of an address (RFC 5321, 4.5.3.1.3, without the brackets)."""
_MAX_LOCAL = 64
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u00a1-\U0010ffff]+"
_LOCAL = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*")
_DOMAIN = re.compile(r"(?=.{1,253}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9-]{1,63}")


@dataclass(frozen=True, slots=True)
class Sender:
    """From whom mails come."""

    name: str
    """Shown beside the address; may be empty."""
    address: str

    @property
    def domain(self) -> str:
        """The domain of the address. The ids of messages end with it."""
        return self.address.rpartition("@")[2]

    def __str__(self) -> str:
        return str(Address(self.name, addr_spec=self.address))


def checked_address(value: str) -> str:
    """Return one mail address, with its domain in ASCII.

    Raises RefusedError, which does not repeat the address: it is personal.
    """
    local, at, domain = value.strip().rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode() if at else ""
    except UnicodeError:
        ascii_domain = ""
    address = f"{local}@{ascii_domain}"
    if (
        not (local.isprintable() and _LOCAL.fullmatch(local) and len(local.encode()) <= _MAX_LOCAL)
        or not _DOMAIN.fullmatch(ascii_domain)
        or len(address) > _MAX_ADDRESS
    ):
        message = "a receiver is not a mail address such as name@example.com"
        raise RefusedError(message)
    return address


def parse_sender(value: str) -> Sender:
    """Return the sender of a setting such as ``Name <no-reply@example.com>``. Raises RefusedError."""
    name, address = parseaddr(value)
    try:
        checked = checked_address(address)
        checked.encode("ascii")
    except (RefusedError, UnicodeError) as error:
        message = "it is not a sender such as Name <no-reply@example.com>"
        raise RefusedError(message) from error
    return Sender(name if name.isprintable() else "", checked)
