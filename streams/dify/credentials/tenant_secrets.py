"""Decrypts secrets of a tenant. The platform encrypts them with the tenant's public key.

A secret is base64 of ``HYBRID:``, an AES key that is encrypted by RSA-OAEP with SHA-1, a nonce of 16 bytes, a tag of
16 bytes, and the text in AES-EAX. The private key is the file ``privkeys/<tenant>/private.pem`` of the storage.
"""

import base64
import binascii

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from streams.dify.credentials.aes_eax import decrypt_eax
from streams.dify.errors import RefusedError
from streams.storage import FileMissingError, Storage

HYBRID = b"HYBRID:"
_NONCE_BYTES = 16
_TAG_BYTES = 16


class TenantSecrets:
    """The private key of a tenant. It is read at the first secret that needs it."""

    def __init__(self, storage: Storage, tenant_id: str) -> None:
        self._storage = storage
        self._tenant_id = tenant_id
        self._key: RSAPrivateKey | None = None

    async def decrypt(self, value: str) -> str:
        """Return the text of an encrypted value. A value in another form is not encrypted and is returned as it is.

        Raises:
            RefusedError: The key is missing, or the value was encrypted with another one. Names neither.
            StorageAwayError: The storage fails.
        """
        try:
            encrypted = base64.b64decode(value, validate=True)
        except (ValueError, binascii.Error):
            return value
        if not encrypted.startswith(HYBRID):
            return value
        key = await self._private_key()
        try:
            return _decrypt(key, encrypted.removeprefix(HYBRID))
        except (ValueError, InvalidTag) as error:  # UnicodeDecodeError is a ValueError
            message = "a secret cannot be decrypted with the private key of its tenant"
            raise RefusedError(message) from error

    async def _private_key(self) -> RSAPrivateKey:
        if self._key is None:
            name = f"privkeys/{self._tenant_id}/private.pem"
            try:
                found = load_pem_private_key(await self._storage.read(name), password=None)
            except FileMissingError as error:
                message = f"the storage has no {name}, which decrypts the tenant's secrets"
                raise RefusedError(message) from error
            except (ValueError, TypeError, UnsupportedAlgorithm) as error:
                message = f"{name} is not a private key without a password"
                raise RefusedError(message) from error
            if not isinstance(found, RSAPrivateKey):
                message = f"{name} is not a key of RSA"
                raise RefusedError(message)
            self._key = found
        return self._key


def _decrypt(key: RSAPrivateKey, encrypted: bytes) -> str:
    size = key.key_size // 8
    nonce_at, tag_at = size, size + _NONCE_BYTES
    text_at = tag_at + _TAG_BYTES
    padding = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303 - the platform's choice
    aes_key = key.decrypt(encrypted[:size], padding)
    text = decrypt_eax(aes_key, encrypted[nonce_at:tag_at], encrypted[tag_at:text_at], encrypted[text_at:])
    return text.decode()
