"""Secrets of tenants in the platform's form."""

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from streams.dify.credentials.aes_eax import decrypt_eax
from streams.dify.credentials.tenant_secrets import TenantSecrets
from streams.dify.errors import RefusedError
from streams.storage import Folder, InThreads
from tests.support.traces.tenant_key import (
    ENCRYPTED_PUBLIC_KEY,
    ENCRYPTED_SECRET_KEY,
    PRIVATE_KEY,
    PUBLIC_KEY_OF_LANGFUSE,
    SECRET_KEY_OF_LANGFUSE,
)

TENANT = "0191e4c2-6f0a-7c33-9d52-7a4be2f0a1c9"
NAME = f"privkeys/{TENANT}/private.pem"


@pytest.fixture
def storage(tmp_path: Path) -> InThreads:
    return InThreads(Folder(tmp_path))


@pytest.mark.parametrize(
    ("message", "key", "nonce", "header", "ciphertext"),
    [
        (
            "",
            "233952DEE4D5ED5F9B9C6D6FF80FF478",
            "62EC67F9C3A4A407FCB2A8C49031A8B3",
            "6BFB914FD07EAE6B",
            "E037830E8389F27B025A2D6527E79D01",
        ),
        (
            "F7FB",
            "91945D3F4DCBEE0BF45EF52255F095A4",
            "BECAF043B0A23D843194BA972C66DEBD",
            "FA3BFD4806EB53FA",
            "19DD5C4C9331049D0BDAB0277408F67967E5",
        ),
        (
            "CA40D7446E545FFAED3BD12A740A659FFBBB3CEAB7",
            "8395FCF1E95BEBD697BD010BC766AAC3",
            "22E7ADD93CFC6393C57EC0B3C17D6B44",
            "126735FCC320D25A",
            "CB8920F87A6C75CFF39627B56E3ED197C552D295A7CFC46AFC253B4652B1AF3795B124AB6E",
        ),
    ],
)
def test_the_vectors_of_the_mode_s_authors(message: str, key: str, nonce: str, header: str, ciphertext: str) -> None:
    """Test vectors of the paper: the ciphertext ends with the tag. A changed tag is refused."""
    content = bytes.fromhex(ciphertext)
    text, tag = content[:-16], content[-16:]
    given = bytes.fromhex(key), bytes.fromhex(nonce)
    assert decrypt_eax(*given, tag, text, bytes.fromhex(header)) == bytes.fromhex(message)
    with pytest.raises(InvalidTag):
        decrypt_eax(*given, bytes(16), text, bytes.fromhex(header))


async def test_secrets_of_the_platform_s_own_library_are_read(storage: InThreads) -> None:
    await storage.write(NAME, PRIVATE_KEY.encode())
    secrets = TenantSecrets(storage, TENANT)
    assert await secrets.decrypt(ENCRYPTED_PUBLIC_KEY) == PUBLIC_KEY_OF_LANGFUSE
    assert await secrets.decrypt(ENCRYPTED_SECRET_KEY) == SECRET_KEY_OF_LANGFUSE


@pytest.mark.parametrize("plain", ["", "pk-lf-1", "http://traces.example.org", "bWFpbA==", "*****"])
async def test_what_is_not_encrypted_stays(storage: InThreads, plain: str) -> None:
    """No key is needed for it."""
    assert await TenantSecrets(storage, TENANT).decrypt(plain) == plain


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (None, ENCRYPTED_PUBLIC_KEY, f"the storage has no {NAME}"),
        ("text", ENCRYPTED_PUBLIC_KEY, "is not a private key without a password"),
        (PRIVATE_KEY, ENCRYPTED_PUBLIC_KEY[:-8], "cannot be decrypted"),
        (PRIVATE_KEY, "SFlCUklEOg==", "cannot be decrypted"),
    ],
)
async def test_what_cannot_be_decrypted_is_refused(
    storage: InThreads, key: str | None, value: str, problem: str
) -> None:
    if key is not None:
        await storage.write(NAME, key.encode())
    with pytest.raises(RefusedError, match=problem) as found:
        await TenantSecrets(storage, TENANT).decrypt(value)
    assert value not in str(found.value)
