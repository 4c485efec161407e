"""Spans of the libraries that a handler uses, and what never reaches a span."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from streams.delivery import Backoff, Handler, Work, handles
from streams.observability.tracing import close_tracing, open_tracing, trace_of
from streams.settings import Settings
from tests.integration.delivery.test_personal_data import environment, letter, marked_values_in
from tests.support.apps.letters import InvitationRequested
from tests.support.delivery_engine import Bench, open_bench
from tests.support.fakes.http_service import HttpService, open_http_service
from tests.support.fakes.otlp_receiver import Receiver, open_receiver

__all__ = ["environment"]
SECTION = "Traces"
UNSAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver of what this process does."""
    with open_receiver() as receiver:
        for name, value in receiver.environment.items():
            monkeypatch.setenv(name, value)
        close_tracing()
        open_tracing()
        yield receiver
        close_tracing()


@pytest.fixture
def service() -> Iterator[HttpService]:
    """An HTTP service that a handler calls."""
    with open_http_service() as service:
        yield service


@pytest.fixture
async def bench(topics: Settings, service: HttpService, receiver: Receiver) -> AsyncIterator[Bench]:
    """An engine with a handler that puts its event's marked values wherever it can."""
    tracer = open_tracing()
    assert tracer is not None
    assert receiver.endpoint
    async with open_bench(topics, _telling_handler(topics, service), pool="high") as bench:
        with tracer.instrumented([bench.context.database.effects.sync_engine]):
            yield bench


def _telling_handler(settings: Settings, service: HttpService) -> "Handler[InvitationRequested]":
    @handles(InvitationRequested, retry=Backoff(first="1s", attempts=1))
    async def tell(event: InvitationRequested, work: Work) -> None:
        mail, code = event.recipients[0].mail, event.code
        await work.session.execute(text(f"select '{mail}'"))
        with suppress(DBAPIError):
            async with work.session.begin_nested():
                await work.session.execute(text("select cast(:mail as int)"), {"mail": mail})
        async with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
            await redis.set(f"invited:{mail}", code, ex=1)
        async with httpx.AsyncClient() as client:
            await client.get(f"{service.url}/people/{mail}?code={code}", headers={"Authorization": code})
        message = f"{mail} cannot be invited with {code}"
        raise ValueError(message)

    return tell


@pytest.mark.requirement(SECTION, "statements, Redis calls and HTTP calls of a handler below its attempt")
@pytest.mark.requirement(SECTION, "marked fields never reach a span")
async def test_libraries_are_below_the_attempt_without_marked_values(
    bench: Bench, receiver: Receiver, service: HttpService
) -> None:
    """The handler puts an address and a code into a statement, an error, a command, a URL and a header."""
    event = letter("succeed")
    await bench.settled(bench.feed(event))
    await bench.until(lambda: receiver.named("settle", event.event_id), "the last span")
    (attempt,) = receiver.named("process", event.event_id)
    below = receiver.below(attempt)
    assert {one.kind for one in below} == {"client"}
    scopes = {one.scope.removeprefix("opentelemetry.instrumentation.") for one in below}
    assert scopes == {"sqlalchemy", "redis", "httpx", "streams"}
    (request,) = [one for one in below if one.scope.endswith("httpx")]
    assert str(request.attributes["http.url"]).startswith(f"{service.url}/people/")
    assert "?" not in str(request.attributes["http.url"])
    (failed,) = [one for one in below if "as int)" in str(one.attributes.get("db.statement"))]
    assert (failed.failed, failed.events) == (True, 0)
    assert [one.events for one in receiver.spans] == [0] * len(receiver.spans)
    assert marked_values_in(b"".join(receiver.raw)) == []
    assert service.requests[0].headers["traceparent"].split("-")[1] == attempt.trace_id


@pytest.mark.requirement(SECTION, "a sender whose trace is not sampled: nothing of its event is recorded")
async def test_nothing_is_recorded_below_an_unsampled_sender(bench: Bench, receiver: Receiver) -> None:
    """Neither the attempt nor its statements nor its settlement, and the next event of the worker is traced."""
    with trace_of(UNSAMPLED):
        quiet = letter("succeed")
        await bench.settled(bench.feed(quiet))
    traced = letter("succeed")
    await bench.settled(bench.feed(traced))
    await bench.until(lambda: receiver.named("settle", traced.event_id), "the spans of the other event")
    assert {one.trace_id for one in receiver.spans} == {receiver.named("process", traced.event_id)[0].trace_id}
