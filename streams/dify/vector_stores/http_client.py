"""Requests to a vector store by REST. What the status of an answer means is decided here."""

import asyncio
import json
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import httpx

from streams.dify.errors import BusyError, RefusedError, VectorStoreError
from streams.dify.http import JSONObject, as_object, retry_after, tls_context

_BUSY_SECONDS = 10.0
"""Seconds to wait after a 429 without Retry-After."""
_SHOWN = 300
"""Characters of an answer in an error."""


class StoreClient:
    """The connections to one server."""

    def __init__(
        self,
        name: str,
        url: str,
        timeout: float,
        *,
        headers: Mapping[str, str] | None = None,
        auth: httpx.BasicAuth | None = None,
    ) -> None:
        """Keep the address.

        Args:
            name: The store's name in errors.
            url: What all addresses begin with.
            timeout: Seconds for a whole request.
            headers: The headers of each request.
            auth: The user and the password.
        """
        self._name = name
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._auth = auth
        # A client's connections belong to the event loop that opened them.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def request(self, method: str, path: str, body: object = None) -> JSONObject:
        """Return the JSON object of an answer. It is empty for 404 and for an empty answer."""
        return as_object(await self.send(method, path, body))

    async def send(self, method: str, path: str, body: object = None, *, lines: bytes | None = None) -> object:
        """Return the JSON of an answer; None: 404, or the answer is empty.

        Args:
            method: The HTTP method.
            path: The path, which begins without a slash.
            body: What is sent as JSON.
            lines: What is sent as lines of JSON in place of the body.

        Raises:
            BusyError: The status is 429.
            RefusedError: The status is another 4xx, but for 408.
            VectorStoreError: Any other failure.
        """
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = httpx.AsyncClient(
                verify=tls_context(), headers=self._headers, auth=self._auth, timeout=self._timeout
            )
        more = {"Content-Type": "application/x-ndjson"} if lines is not None else None
        try:
            async with asyncio.timeout(self._timeout):
                response = await client.request(method, f"{self._url}/{path}", json=body, content=lines, headers=more)
        except (httpx.HTTPError, TimeoutError) as error:
            message = f"{self._name} does not answer: {type(error).__name__}"
            raise VectorStoreError(message) from error
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if not response.is_success:
            raise self._failure(response)
        try:
            return json.loads(response.content) if response.content else None
        except (ValueError, RecursionError) as error:
            message = f"{self._name} answers with something that is not JSON"
            raise VectorStoreError(message) from error

    def _failure(self, response: httpx.Response) -> Exception:
        status = response.status_code
        message = f"{self._name} answered {status}: {shown(response.text)}"
        if status == httpx.codes.TOO_MANY_REQUESTS:
            wait = retry_after(response.headers.get("Retry-After"))
            return BusyError(message, _BUSY_SECONDS if wait is None else wait)
        refused = response.is_client_error and status != httpx.codes.REQUEST_TIMEOUT
        return RefusedError(message) if refused else VectorStoreError(message)


def shown(text: str) -> str:
    """Return the beginning of a text in one line."""
    return " ".join(text[:_SHOWN].split())
