"""Encrypts records with secret fields, from the worker on: in retry topics, the ledger and DLQs.

An encrypted value is the byte 1 and a Fernet token of the original value. Confluent's wire format starts with byte 0.
A producer may send a value that begins with byte 1 and is no token. It counts as any other value.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from streams.settings import Settings, SettingsError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

ENCRYPTED_MAGIC = b"\x01"
KEY_SETTING = "STREAMS_DLQ_KEY"
_TOKEN = re.compile(rb"gAAAA[A-Za-z0-9_-]+={0,2}")
"""A Fernet token in URL-safe base64: the version 0x80, a time of 64 bits that begins with zeros, and more."""
_SHORTEST_TOKEN = 100
"""The number of characters of a token of an empty value."""


class SealedError(Exception):
    """An encrypted value cannot be decrypted here. The message is one line that says what is needed."""

    __module__ = "streams.codec"


def is_encrypted(value: bytes | None) -> bool:
    """Return True if a value has the form of an encrypted one. Only its key shows whether it is."""
    if value is None or value[:1] != ENCRYPTED_MAGIC:
        return False
    token = len(value) - 1
    return token >= _SHORTEST_TOKEN and token % 4 == 0 and _TOKEN.fullmatch(value, 1) is not None


class Encryptor:
    """The keys of one process. Without a key, it encrypts nothing and decrypts nothing."""

    def __init__(self, keys: str = "") -> None:
        """Read Fernet keys, separated by commas. The first one encrypts, all of them decrypt. Raises SettingsError."""
        named = [key.strip() for key in keys.split(",") if key.strip()]
        self._cipher = _cipher(named) if named else None

    def encrypt(self, value: bytes) -> bytes:
        """Return the encrypted value. Without a key, or if it is already encrypted, it is unchanged."""
        if self._cipher is None or is_encrypted(value):
            return value
        return ENCRYPTED_MAGIC + self._cipher.encrypt(value)

    def decrypt(self, value: bytes) -> bytes:
        """Return the decrypted value. A value that is not encrypted is unchanged. Raises SealedError."""
        if value[:1] != ENCRYPTED_MAGIC:
            return value
        if not is_encrypted(value):
            message = "the value starts like an encrypted one, but it is not one"
            raise SealedError(message)
        if self._cipher is None:
            message = f"the value is encrypted: set {KEY_SETTING} to its key"
            raise SealedError(message)
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - there is a cipher, so the library is loaded

        try:
            return self._cipher.decrypt(value[1:])
        except InvalidToken as error:
            message = f"the value is encrypted with a key that {KEY_SETTING} does not have"
            raise SealedError(message) from error


def _cipher(keys: list[str]) -> "MultiFernet":
    try:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - only processes with a key need the library
    except ImportError as error:
        message = f"{KEY_SETTING} needs cryptography: install the extra `encryption`"
        raise SettingsError(message) from error
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        message = (
            f"{KEY_SETTING}: not a Fernet key (32 bytes, URL-safe base64); create one with "
            'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        )
        raise SettingsError(message) from error


@lru_cache(maxsize=4)
def _encryptor(keys: str) -> Encryptor:
    return Encryptor(keys)


def open_encryptor(settings: Settings) -> Encryptor:
    """Return the encryptor with the keys of STREAMS_DLQ_KEY. Raises SettingsError."""
    return _encryptor("" if settings.dlq_key is None else settings.dlq_key.get_secret_value())
