"""A bucket of S3, or of what speaks like it, as the storage. boto3 comes with the extra `s3`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from streams.settings import Settings, SettingsError
from streams.storage.port import FileMissingError, StorageAwayError

if TYPE_CHECKING:
    from botocore.client import BaseClient

ATTEMPTS = 3
"""Tries of one request; those for a request that was not answered wait a little between them."""
SERVERS_OWN = 500
"""HTTP statuses from here on are failures of the server."""
_NOT_THERE = {"NoSuchKey", "404", "NotFound"}
_REFUSES_ALL = {
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
"""Codes by which no other file would fare better: to wait is better than to give deliveries up."""


class Bucket:
    """Files as objects below a prefix. An object is written whole or not at all; so S3 has it."""

    def __init__(self, client: "BaseClient", bucket: str, prefix: str = "") -> None:
        """`prefix`: without slashes at its ends; empty: the whole bucket."""
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def read(self, key: str) -> bytes:
        """The object's bytes; raises FileMissingError."""
        with self._told_apart(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            content: bytes = answer["Body"].read()
            return content

    def write(self, key: str, content: bytes) -> None:
        """Make or replace the object."""
        with self._told_apart(key):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=content)

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is fine."""
        with self._told_apart(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key."""
        try:
            with self._told_apart(key):
                self._client.head_object(Bucket=self._bucket, Key=self._key(key))
        except FileMissingError:
            return False
        return True

    def keys(self, folder: str) -> Sequence[str]:
        """The keys of all objects directly in a folder."""
        found: list[str] = []
        with self._told_apart(folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._key(folder)}/", Delimiter="/"
            )
            for page in pages:
                found.extend(one["Key"].removeprefix(self._prefix) for one in page.get("Contents", ()))
        return found

    def _key(self, key: str) -> str:
        path = PurePosixPath(key)
        if path.is_absolute() or not path.parts or ".." in path.parts:
            message = f"{key!r} is not the key of a file in the storage"
            raise ValueError(message)
        return self._prefix + str(path)

    @contextmanager
    def _told_apart(self, key: str) -> Iterator[None]:
        """An object that is missing, a storage that fails as a whole, and anything else, which is the request's own."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - there is a client, so it is loaded

        try:
            yield
        except ClientError as error:
            told = error.response.get("Error", {})
            code, status = str(told.get("Code")), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _NOT_THERE:
                raise FileMissingError(key) from error
            if code in _REFUSES_ALL or status >= SERVERS_OWN:
                message = f"the storage s3://{self._bucket} does not work: {code} {told.get('Message', '')}".rstrip()
                raise StorageAwayError(message) from error
            raise
        except BotoCoreError as error:  # no connection, no answer in time, no credentials
            message = f"the storage s3://{self._bucket} does not work: {' '.join(str(error).split())}"
            raise StorageAwayError(message) from error


def open_bucket(settings: Settings, bucket: str, prefix: str) -> Bucket:
    """The bucket with a client of its own; no connection is made yet. Raises SettingsError where boto3 is missing."""
    try:
        import boto3  # noqa: PLC0415 - only who has a bucket needs the library
        from botocore.config import Config  # noqa: PLC0415 - as above
    except ImportError as error:
        message = "STREAMS_STORAGE_URL=s3://… needs boto3; install the extra `s3`"
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
