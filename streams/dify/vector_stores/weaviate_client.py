"""Requests to Weaviate by REST and GraphQL. What the status of an answer means is decided here."""

import asyncio
import json
from weakref import WeakKeyDictionary

import httpx
from pydantic import SecretStr

from streams.dify.errors import BusyError, RefusedError, VectorStoreError
from streams.dify.http import as_object, retry_after, tls_context

_BUSY_SECONDS = 10.0
"""Seconds to wait after a 429 without Retry-After."""
_SHOWN = 300
"""Characters of an answer in an error."""


class WeaviateClient:
    """The connections to one server."""

    def __init__(self, url: str, api_key: SecretStr | None, timeout: float) -> None:
        """Keep the address. `timeout` is in seconds, for a whole request."""
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._timeout = timeout
        # A client's connections belong to the event loop that opened them.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def query(self, kind: str, name: str, rest: str) -> list[dict[str, object]]:
        """Return the rows of a query of a class. `kind` is Get or Aggregate."""
        answer = await self.request("POST", "graphql", {"query": f"{{{kind}{{{name}{rest}}}}}"})
        if answer.get("errors"):
            message = f"Weaviate rejects a query: {shown(json.dumps(answer['errors']))}"
            raise VectorStoreError(message)
        rows = as_object(as_object(answer.get("data")).get(kind)).get(name)
        return [as_object(row) for row in rows] if isinstance(rows, list) else []

    async def request(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """Return the JSON object of an answer. It is empty for 404 and for an empty answer."""
        return as_object(await self.send(method, path, body))

    async def send(self, method: str, path: str, body: object = None) -> object:
        """Return the JSON of an answer; None: 404, or the answer is empty.

        Raises BusyError, RefusedError and VectorStoreError.
        """
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            key = self._api_key
            headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
            client = self._clients[loop] = httpx.AsyncClient(
                verify=tls_context(), headers=headers, timeout=self._timeout
            )
        try:
            async with asyncio.timeout(self._timeout):
                response = await client.request(method, f"{self._url}/v1/{path}", json=body)
        except (httpx.HTTPError, TimeoutError) as error:
            message = f"Weaviate does not answer: {type(error).__name__}"
            raise VectorStoreError(message) from error
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if not response.is_success:
            raise _failure(response)
        try:
            return json.loads(response.content) if response.content else None
        except (ValueError, RecursionError) as error:
            message = "Weaviate answers with something that is not JSON"
            raise VectorStoreError(message) from error


def _failure(response: httpx.Response) -> Exception:
    status = response.status_code
    message = f"Weaviate answered {status}: {shown(response.text)}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        wait = retry_after(response.headers.get("Retry-After"))
        return BusyError(message, _BUSY_SECONDS if wait is None else wait)
    refused = response.is_client_error and status != httpx.codes.REQUEST_TIMEOUT
    return RefusedError(message) if refused else VectorStoreError(message)


def graphql(value: object) -> str:
    """Return a value as GraphQL writes it: names without quotes, and operators as words."""
    if isinstance(value, dict):
        items = (f"{key}:{one if key == 'operator' else graphql(one)}" for key, one in value.items())
        return f"{{{','.join(items)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(graphql, value))}]"
    return json.dumps(value)


def shown(text: str) -> str:
    """Return the beginning of a text in one line."""
    return " ".join(text[:_SHOWN].split())
