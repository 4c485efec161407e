"""Seals: a record with a secret field travels encrypted from the worker on, into tiers, the ledger and DLQs.

A sealed value is the byte 1 and a Fernet token of the value as it came; Confluent's wire format starts with 0.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from streams.settings import Settings, SettingsError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

SEAL = b"\x01"
VARIABLE = "STREAMS_DLQ_KEY"


class SealedError(Exception):
    """A sealed value cannot be opened here; the message is one line that says what is needed."""

    __module__ = "streams.codec"


class Encryptor:
    """The keys of one process. Without any nothing is sealed, and nothing sealed can be read."""

    def __init__(self, keys: str = "") -> None:
        """`keys`: Fernet keys, separated by commas; the first seals, all open. Raises SettingsError."""
        named = [key.strip() for key in keys.split(",") if key.strip()]
        self._cipher = _cipher(named) if named else None

    @property
    def usable(self) -> bool:
        """Whether there is a key."""
        return self._cipher is not None

    def seal(self, value: bytes) -> bytes:
        """The value encrypted; as it is where there is no key, or where it is sealed already."""
        if self._cipher is None or value[:1] == SEAL:
            return value
        return SEAL + self._cipher.encrypt(value)

    def open(self, value: bytes) -> bytes:
        """What was sealed; any other value as it is. Raises SealedError."""
        if value[:1] != SEAL:
            return value
        if self._cipher is None:
            message = f"the value is encrypted; {VARIABLE} with its key opens it"
            raise SealedError(message)
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - there is a cipher, so it is loaded

        try:
            return self._cipher.decrypt(value[1:])
        except InvalidToken as error:
            message = f"the value is encrypted with a key that {VARIABLE} does not have"
            raise SealedError(message) from error


def _cipher(keys: list[str]) -> "MultiFernet":
    try:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - only who has a key needs the library
    except ImportError as error:
        message = f"{VARIABLE} needs cryptography; install the extra `encryption`"
        raise SettingsError(message) from error
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        message = (
            f"{VARIABLE}: not a Fernet key (32 bytes, URL-safe base64); one is made by "
            'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        )
        raise SettingsError(message) from error


@lru_cache(maxsize=4)
def _seals(keys: str) -> Encryptor:
    return Encryptor(keys)


def open_seals(settings: Settings) -> Encryptor:
    """The seals of STREAMS_DLQ_KEY. Raises SettingsError."""
    return _seals("" if settings.dlq_key is None else settings.dlq_key.get_secret_value())
