"""A keyword table that the platform keeps as a file, where its KEYWORD_DATA_SOURCE_TYPE is not ``database``."""

import asyncio
import json

from streams.dify.errors import RefusedError
from streams.storage import Storage


def keyword_file(tenant_id: str, dataset_id: str) -> str:
    """Its key in the storage."""
    return f"keyword_files/{tenant_id}/{dataset_id}.txt"


async def read_table(storage: Storage, key: str) -> str:
    """The file's text: the same JSON as in a row. Raises FileMissingError, and RefusedError where it is no table."""
    content = await storage.read(key)
    return await asyncio.to_thread(_checked, content, key)


def _checked(content: bytes, key: str) -> str:
    found: object = None
    try:
        table = content.decode()
        found = json.loads(table)
    except ValueError:
        table = ""
    data = found.get("__data__") if isinstance(found, dict) else None
    if not (isinstance(data, dict) and isinstance(data.get("table"), dict)):
        message = f"the file {key} is no keyword table of the platform: {content[:100]!r}"
        raise RefusedError(message)
    return table
