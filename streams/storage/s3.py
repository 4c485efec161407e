"""A bucket of S3, or of a compatible service, as the storage. boto3 comes with the extra `s3`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streams.settings import Settings, SettingsError
from streams.storage.port import FileMissingError, StorageAwayError, checked_key

if TYPE_CHECKING:
    from botocore.client import BaseClient

ATTEMPTS = 3
"""The maximum number of attempts of one request. There is a short pause between them."""
SERVER_ERROR = 500
"""HTTP statuses from this one on are server errors."""
_MISSING = {"NoSuchKey", "404", "NotFound"}
_UNAVAILABLE = {
    "403",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "NoSuchBucket",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "SlowDown",
    "TooManyRequests",
}
"""Error codes that all other files would get too: waiting is better than failing the deliveries."""


class Bucket:
    """Files as objects with a prefix. S3 writes an object atomically."""

    def __init__(self, client: "BaseClient", bucket: str, prefix: str = "") -> None:
        """Keep the bucket. `prefix` has no slashes at its ends. An empty prefix means the whole bucket."""
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def read(self, key: str) -> bytes:
        """Return the object's bytes. Raises FileMissingError."""
        with self._translate_errors(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            content: bytes = answer["Body"].read()
            return content

    def write(self, key: str, content: bytes) -> None:
        """Create or replace the object."""
        with self._translate_errors(key):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=content)

    def delete(self, key: str) -> None:
        """Delete the object if it exists."""
        with self._translate_errors(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def exists(self, key: str) -> bool:
        """Return True if the object exists."""
        try:
            with self._translate_errors(key):
                self._client.head_object(Bucket=self._bucket, Key=self._key(key))
        except FileMissingError:
            return False
        return True

    def keys(self, folder: str) -> Sequence[str]:
        """Return the keys of all objects directly in a folder."""
        found: list[str] = []
        with self._translate_errors(folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._key(folder)}/", Delimiter="/"
            )
            for page in pages:
                found.extend(one["Key"].removeprefix(self._prefix) for one in page.get("Contents", ()))
        return found

    def _key(self, key: str) -> str:
        return self._prefix + str(checked_key(key))

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        """Raise FileMissingError or StorageAwayError for botocore's errors. Errors of the request itself are kept."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - with a client, it is loaded

        try:
            yield
        except ClientError as error:
            details = error.response.get("Error", {})
            code, status = str(details.get("Code")), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _MISSING:
                raise FileMissingError(key) from error
            if code in _UNAVAILABLE or status >= SERVER_ERROR:
                message = f"the storage s3://{self._bucket} does not work: {code} {details.get('Message', '')}".rstrip()
                raise StorageAwayError(message) from error
            raise
        except BotoCoreError as error:  # no connection, no answer in time, or no credentials
            message = f"the storage s3://{self._bucket} does not work: {' '.join(str(error).split())}"
            raise StorageAwayError(message) from error


def open_bucket(settings: Settings, bucket: str, prefix: str) -> Bucket:
    """Return the bucket with its own client, without connecting.

    Args:
        settings: The endpoint, the credentials and the time-outs.
        bucket: The bucket's name.
        prefix: The common prefix of all keys.

    Raises:
        SettingsError: boto3 is not installed.
    """
    try:
        import boto3  # noqa: PLC0415 - only users of a bucket need the library
        from botocore.config import Config  # noqa: PLC0415 - as above
    except ImportError as error:
        message = "STREAMS_STORAGE_URL=s3://… needs boto3: install the extra `s3`"
        raise SettingsError(message) from error
    secret = settings.storage_secret_key
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=settings.storage_endpoint_url,
        region_name=settings.storage_region,
        aws_access_key_id=settings.storage_access_key,
        aws_secret_access_key=None if secret is None else secret.get_secret_value(),
        config=Config(
            connect_timeout=settings.storage_connect_timeout,
            read_timeout=settings.storage_request_timeout,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=32,
        ),
    )
    return Bucket(client, bucket, prefix.strip("/"))
