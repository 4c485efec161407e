"""Questions and answers that a chat model writes about a text, behind an OpenAI-compatible endpoint."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from streams.dify.errors import BusyError, ChatAwayError, NoAnswerError, RefusedError
from streams.dify.http import ACCEPTED, AnswerError, read_body, retry_after
from streams.observability.logs import get_logger
from streams.settings import Settings, SettingsError

log = get_logger(__name__)
ATTEMPTS = 3
"""The number of attempts per text. After that, the document fails."""
FIRST_WAIT = 0.5
"""Seconds before the second attempt; doubled before each further one."""
MAX_WAIT = 10.0
"""Seconds that an attempt waits at most if the endpoint asks for it. A longer wait becomes a delivery's retry."""
MAX_RETRY_DELAY = 86400.0
"""The longest delay in seconds of a delivery's retry, whatever the endpoint asks for."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
_SHOWN = 300
"""The number of bytes of a response in the log."""

_PROMPT = (
    "You prepare a text for a knowledge base. Write questions that the text answers, each with its complete answer, so"
    " that together they hold everything that the text says. Use nothing but the text, and write in {language}. Write"
    " them in this form and nothing else:\nQ1: the first question\nA1: its answer\nQ2: the second question\n"
    "A2: its answer"
)
_SAMPLE = "Water boils at 100 degrees."
"""The text of a check whether the endpoint answers."""
# Blanks before a mark stay within its line. A run of newlines would be searched again from each of them.
_MARK = re.compile(r"^[^\S\n]*(?:[*#>-][^\S\n]*)*([QA])\s*(\d+)\s*[:\uff1a][\s*]*", re.MULTILINE)
_PAIRED = 2


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class ChatEndpoint:
    """The address of a chat model. It has no open connection."""

    url: str
    """Without ``/chat/completions``."""
    model: str
    key: SecretStr | None
    timeout: float
    """Seconds for one answer."""
    connect_timeout: float = 5.0
    """Seconds for a connection."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["ChatClient"]:
        """Open connections; they are closed at the end."""
        headers = {**ACCEPTED, **({"Authorization": f"Bearer {self.key.get_secret_value()}"} if self.key else {})}
        async with httpx.AsyncClient(
            headers=headers, timeout=httpx.Timeout(self.timeout, connect=self.connect_timeout)
        ) as client:
            yield ChatClient(self, client)


def chat_endpoint(settings: Settings) -> ChatEndpoint | None:
    """Return the endpoint of the settings; None: not configured. Raises SettingsError."""
    if settings.chat_url is None and settings.chat_model is None:
        return None
    if settings.chat_url is None or settings.chat_model is None:
        message = "STREAMS_CHAT_URL and STREAMS_CHAT_MODEL belong together: set both or neither"
        raise SettingsError(message)
    return ChatEndpoint(
        settings.chat_url.rstrip("/"),
        settings.chat_model,
        settings.chat_api_key,
        settings.chat_timeout,
        settings.chat_connect_timeout,
    )


class ChatClient:
    """Sends texts to one endpoint. Any number of requests may run concurrently."""

    def __init__(self, endpoint: ChatEndpoint, client: httpx.AsyncClient) -> None:
        self._endpoint = endpoint
        self._client = client

    async def pairs(self, text: str, language: str) -> tuple[Pair, ...]:
        """Return at least one pair.

        Raises BusyError or NoAnswerError after all attempts, RefusedError if no retry can succeed.
        """
        attempts = 0
        while True:
            attempts += 1
            try:
                return pairs_in(await self._answer(text, language))
            except (BusyError, NoAnswerError) as error:
                wait = error.after if isinstance(error, BusyError) else FIRST_WAIT * 2 ** (attempts - 1)
                if attempts == ATTEMPTS or wait > MAX_WAIT:
                    raise
            await asyncio.sleep(wait)

    async def check(self) -> None:
        """Send one short text, once. Raises BusyError, NoAnswerError, RefusedError."""
        await self._answer(_SAMPLE, "English")

    async def _answer(self, text: str, language: str) -> str:
        endpoint = self._endpoint
        request = {
            "model": endpoint.model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": _PROMPT.format(language=language)},
                {"role": "user", "content": text},
            ],
        }
        try:
            async with (
                asyncio.timeout(endpoint.timeout),
                self._client.stream("POST", f"{endpoint.url}/chat/completions", json=request) as response,
            ):
                body = await read_body(response, MAX_ANSWER_BYTES)
        except httpx.InvalidURL as error:
            message = "STREAMS_CHAT_URL is not an address"
            raise RefusedError(message) from error
        except (httpx.HTTPError, TimeoutError) as error:
            log.warning("the chat endpoint does not answer", url=endpoint.url, error=repr(error))
            message = f"the chat endpoint does not answer: {type(error).__name__}"
            raise ChatAwayError(message) from error
        except AnswerError as error:
            message = f"the chat endpoint {error}"
            raise NoAnswerError(message) from error
        if not response.is_success:
            shown = body[:_SHOWN].decode(errors="replace")
            log.warning("the chat endpoint rejects a request", status=response.status_code, body=shown)
            raise _refusal(response)
        return _content(body)


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice]


def _refusal(response: httpx.Response) -> Exception:
    message = f"the chat endpoint answered {response.status_code}"
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        after = retry_after(response.headers.get("Retry-After"))
        return NoAnswerError(message) if after is None else BusyError(message, min(after, MAX_RETRY_DELAY))
    if response.is_client_error and response.status_code != httpx.codes.REQUEST_TIMEOUT:
        return RefusedError(message)
    away = response.is_server_error or response.status_code == httpx.codes.REQUEST_TIMEOUT
    return ChatAwayError(message) if away else NoAnswerError(message)


def _content(body: bytes) -> str:
    try:
        (choice, *_) = _Completion.model_validate_json(body).choices
    except ValueError as error:
        what = "is invalid" if isinstance(error, ValidationError) else "has no choices"
        log.warning("a completion of the chat endpoint cannot be used", body=body[:_SHOWN].decode(errors="replace"))
        message = f"the chat endpoint's completion {what}"
        raise NoAnswerError(message) from error
    if choice.finish_reason == "length":
        message = (
            "the chat model's answer was cut off; smaller pieces (max_tokens of the process rule) get shorter answers"
        )
        raise NoAnswerError(message)
    return choice.message.content


def pairs_in(answer: str) -> tuple[Pair, ...]:
    """Parse an answer of the form ``Q1: … A1: … Q2: …``. Raises NoAnswerError rather than losing a pair."""
    _, *marked = _MARK.split(answer)
    marks = [(marked[i], marked[i + 1], marked[i + 2].strip()) for i in range(0, len(marked), 3)]
    pairs = []
    for start in range(0, len(marks), _PAIRED):
        match marks[start : start + _PAIRED]:
            case [("Q", asked, str(question)), ("A", answered, str(reply))] if asked == answered and question and reply:
                pairs.append(Pair(question, reply))
            case _:
                pairs.clear()
                break
    if not pairs:
        message = f"the chat model's answer does not consist of questions and answers: {answer[:200]!r}"
        raise NoAnswerError(message)
    return tuple(pairs)
