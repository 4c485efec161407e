"""Requests to Weaviate by REST and GraphQL."""

import json

from pydantic import SecretStr

from streams.dify.errors import VectorStoreError
from streams.dify.http import as_object
from streams.dify.vector_stores.http_client import StoreClient, shown


class WeaviateClient(StoreClient):
    """The connections to one server."""

    def __init__(self, url: str, api_key: SecretStr | None, timeout: float) -> None:
        """Keep the address. `timeout` is in seconds, for a whole request."""
        headers = {"Authorization": f"Bearer {api_key.get_secret_value()}"} if api_key else {}
        super().__init__("Weaviate", f"{url.rstrip('/')}/v1", timeout, headers=headers)

    async def query(self, kind: str, name: str, rest: str) -> list[dict[str, object]]:
        """Return the rows of a query of a class. `kind` is Get or Aggregate."""
        answer = await self.request("POST", "graphql", {"query": f"{{{kind}{{{name}{rest}}}}}"})
        if answer.get("errors"):
            message = f"Weaviate rejects a query: {shown(json.dumps(answer['errors']))}"
            raise VectorStoreError(message)
        rows = as_object(as_object(answer.get("data")).get(kind)).get(name)
        return [as_object(row) for row in rows] if isinstance(rows, list) else []


def graphql(value: object) -> str:
    """Return a value as GraphQL writes it: names without quotes, and operators as words."""
    if isinstance(value, dict):
        items = (f"{key}:{one if key == 'operator' else graphql(one)}" for key, one in value.items())
        return f"{{{','.join(items)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(graphql, value))}]"
    return json.dumps(value)
