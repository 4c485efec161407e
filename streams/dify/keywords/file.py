"""Reads keyword tables that the platform stores as files, if KEYWORD_DATA_SOURCE_TYPE is not ``database``."""

import asyncio
import json

from streams.dify.errors import RefusedError
from streams.storage import Storage


def keyword_file(tenant_id: str, dataset_id: str) -> str:
    """Return the key of a dataset's keyword file in the storage."""
    return f"keyword_files/{tenant_id}/{dataset_id}.txt"


async def read_table(storage: Storage, key: str) -> str:
    """Return the text of the file: the same JSON as in a row.

    Raises FileMissingError, and RefusedError if it is not a keyword table.
    """
    content = await storage.read(key)
    return await asyncio.to_thread(_checked, content, key)


def _checked(content: bytes, key: str) -> str:
    found: object = None
    try:
        table = content.decode()
        found = json.loads(table)
    except (ValueError, RecursionError):
        table = ""
    data = found.get("__data__") if isinstance(found, dict) else None
    if not (isinstance(data, dict) and isinstance(data.get("table"), dict)):
        message = f"the file {key} is not a keyword table of the platform: {content[:100]!r}"
        raise RefusedError(message)
    return table
