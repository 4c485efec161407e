"""AES in the mode EAX (Bellare, Rogaway, Wagner: The EAX Mode of Operation, 2004), made from AES-CMAC and AES-CTR.

The platform encrypts with it, and the library `cryptography` does not have it.
"""

from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.cmac import CMAC

_BLOCK = 16
_NONCE, _HEADER, _CIPHERTEXT = 0, 1, 2
"""The numbers that separate the three uses of CMAC."""


def decrypt_eax(key: bytes, nonce: bytes, tag: bytes, ciphertext: bytes, header: bytes = b"") -> bytes:
    """Return the plaintext.

    Args:
        key: 16, 24 or 32 bytes.
        nonce: The number that was used once.
        tag: 16 bytes that authenticate all the rest.
        ciphertext: As long as the plaintext.
        header: Authenticated, but not encrypted.

    Raises:
        InvalidTag: The tag does not belong to the key and the rest.
    """
    counter = _omac(key, _NONCE, nonce)
    parts = (counter, _omac(key, _HEADER, header), _omac(key, _CIPHERTEXT, ciphertext))
    expected = bytes(one ^ two ^ three for one, two, three in zip(*parts, strict=True))
    if not compare_digest(expected, tag):
        raise InvalidTag
    decryptor = Cipher(AES(key), CTR(counter)).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


def _omac(key: bytes, use: int, message: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(use.to_bytes(_BLOCK, "big") + message)
    return mac.finalize()
