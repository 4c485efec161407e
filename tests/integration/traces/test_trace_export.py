"""Recorded traces are sent to the provider of their app, and their payloads go only then."""

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from schemas import TraceRecorded
from streams.agents.apps.trace_export import send_trace
from streams.delivery import Permanent, Retry
from streams.dify.errors import ServiceError
from streams.dify.models import App, WorkflowNodeExecution
from streams.settings import Settings
from tests.support.fakes.trace_server import Refusal, TraceServer, trace_server
from tests.support.platform.annotation_rows import job_state
from tests.support.platform.handler_runs import CrashError, Site, open_site
from tests.support.traces.tenant_key import PUBLIC_KEY_OF_LANGFUSE, SECRET_KEY_OF_LANGFUSE
from tests.support.traces.trace_payloads import add_traced_app, message_info, payload_key, record

SECTION = "The whole domain"
START_OF_TOOL = "2026-11-28T10:00:01+00:00"
SENT_ONCE = "trace.recorded: the payload is deleted only after success"


@pytest.fixture
def server() -> Iterator[TraceServer]:
    with trace_server() as started:
        yield started


@pytest.fixture
async def site(settings: Settings, tmp_path: Path) -> AsyncIterator[Site]:
    url = settings.database_url.get_secret_value()
    given = {"redis_url": settings.redis_url, "service_request_timeout": 1.0}
    async with open_site(url, tmp_path / "files", **given) as opened:
        yield opened


async def _stored(site: Site, event: TraceRecorded) -> bool:
    return await site.platform.storage.exists(payload_key(event))


async def _delete_payloads(site: Site) -> int:
    """Handle the events of traces that are sent. Returns their number."""
    events = await site.published()
    for event in events:
        assert isinstance(event, TraceRecorded)
        assert event.sent
        assert await _stored(site, event)
        assert await site.run(send_trace, event) == {"deleted": payload_key(event)}
        assert not await _stored(site, event)
    assert await site.published() == []
    return len(events)


async def _recorded(site: Site, app: App) -> TraceRecorded:
    return await record(site, app, "MessageTraceInfo", message_info(str(uuid4())))


@pytest.mark.requirement(SECTION, "trace.recorded: a message is sent to Langfuse with the app's own keys")
async def test_a_message_is_sent_to_langfuse(site: Site, server: TraceServer) -> None:
    """One trace with one generation; the keys are decrypted; the payload is deleted."""
    app = await add_traced_app(site, server.url)
    message_id = str(uuid4())
    event = await record(site, app, "MessageTraceInfo", message_info(message_id))
    assert await site.run(send_trace, event) == {"provider": "langfuse", "spans": 1}

    ((trace, generation),) = server.batches
    key = base64.b64encode(f"{PUBLIC_KEY_OF_LANGFUSE}:{SECRET_KEY_OF_LANGFUSE}".encode()).decode()
    assert server.requests[0][:2] == ("/api/public/ingestion", f"Basic {key}")
    assert (trace["type"], trace["body"]["id"], trace["body"]["sessionId"]) == (
        "trace-create",
        message_id,
        "conversation-1",
    )
    body = generation["body"]
    assert (generation["type"], body["traceId"], body["model"]) == ("generation-create", message_id, "gpt-4o")
    assert body["usage"] == {"input": 30, "output": 12, "total": 42, "unit": "TOKENS", "totalCost": 0.0021}
    assert (body["startTime"], body["endTime"]) == ("2026-11-28T10:00:00.000Z", "2026-11-28T10:00:02.500Z")
    assert await _delete_payloads(site) == 1
    assert len(server.batches) == 1


@pytest.mark.requirement(SECTION, "trace.recorded: the parts of a message are one trace in OTLP")
async def test_parts_of_a_message_are_one_trace_in_otlp(site: Site, server: TraceServer) -> None:
    """A message and a failed tool come in two events. Their ids fit together."""
    app = await add_traced_app(site, server.url, "otlp")
    message_id = str(uuid4())
    tool = {
        "message_id": message_id,
        "tool_name": "search",
        "tool_inputs": {"q": "leave"},
        "tool_outputs": "none",
        "error": "too slow",
        "start_time": START_OF_TOOL,
        "metadata": {"time_cost": 1.5},
    }
    for kind, info in (("MessageTraceInfo", message_info(message_id)), ("ToolTraceInfo", tool)):
        await site.run(send_trace, await record(site, app, kind, info))

    root, llm, search = server.spans
    assert {one["traceId"] for one in (root, llm, search)} == {message_id.replace("-", "")}
    assert {llm["parentSpanId"], search["parentSpanId"]} == {root["spanId"]}
    assert (search["name"], search["status"]) == ("search", {"code": 2, "message": "too slow"})
    assert search["startTimeUnixNano"] == search["endTimeUnixNano"] == "1795860001000000000"
    attributes = {one["key"]: one["value"] for one in llm["attributes"]}
    assert attributes["gen_ai.usage.input_tokens"] == {"intValue": "30"}
    assert server.requests[0][1] == f"Bearer {SECRET_KEY_OF_LANGFUSE}"


@pytest.mark.requirement(SECTION, "trace.recorded: a workflow run is sent with its nodes")
async def test_a_workflow_run_is_sent_with_its_nodes(site: Site, server: TraceServer) -> None:
    """Nodes come from the rows of the run, of this tenant only. A chat model's node is a generation."""
    app, run_id, workflow_id = await add_traced_app(site, server.url), str(uuid4()), str(uuid4())

    def node(number: int, tenant_id: str, **columns: object) -> WorkflowNodeExecution:
        known: dict[str, object] = {
            "tenant_id": tenant_id,
            "app_id": app.id,
            "workflow_id": workflow_id,
            "triggered_from": "workflow-run",
            "workflow_run_id": run_id,
            "index": number,
            "node_id": f"node-{number}",
            "node_type": "code",
            "title": f"Node {number}",
            "status": "succeeded",
            "created_by_role": "account",
            "created_by": str(uuid4()),
        }
        return WorkflowNodeExecution(**{**known, **columns})

    chat = '{"model_mode": "chat", "model_name": "gpt-4o", "prompts": ["Hi"], "usage": {"prompt_tokens": 3}}'
    await site.add(
        node(2, site.tenant_id, node_type="llm", process_data=chat, outputs='{"text": "Hello"}'),
        node(1, site.tenant_id, status="failed", error="division by zero"),
        node(3, str(uuid4())),
    )
    info = {
        "workflow_run_id": run_id,
        "workflow_run_inputs": {"query": "Hi"},
        "workflow_run_outputs": {"text": "Hello"},
        "workflow_run_version": "draft",
        "message_id": None,
        "metadata": {"user_id": "user-1"},
        "error": "",
        "start_time": "2026-11-28T10:00:00",
    }
    await site.run(send_trace, await record(site, app, "WorkflowTraceInfo", info))
    ((trace, first, second),) = server.batches
    assert (trace["body"]["id"], trace["body"]["userId"], trace["body"]["tags"]) == (run_id, "user-1", ["workflow"])
    assert (first["body"]["name"], first["body"]["level"]) == ("Node 1", "ERROR")
    assert (second["type"], second["body"]["input"], second["body"]["usage"]["input"]) == (
        "generation-create",
        ["Hi"],
        3,
    )


@pytest.mark.requirement(SECTION, "trace.recorded: sent again after a crash, a trace has the same ids")
async def test_a_crash_after_the_request_repeats_the_same_ids(site: Site, server: TraceServer) -> None:
    """The payload is still there, since the success was not recorded."""
    event = await _recorded(site, await add_traced_app(site, server.url))

    async def crash(step: int) -> None:
        if step == 2:
            raise CrashError

    with pytest.raises(CrashError):
        await site.run(send_trace, event, before_commit=crash)
    assert await site.published() == []
    await site.run(send_trace, event)
    first, second = server.batches
    assert first == second
    assert await _delete_payloads(site) == 1


@pytest.mark.requirement(SECTION, SENT_ONCE)
async def test_a_worker_killed_after_the_success_leaves_no_payload(site: Site, server: TraceServer) -> None:
    """Nothing delivers the trace again. The event that deletes the payload was committed with the success."""
    event = await _recorded(site, await add_traced_app(site, server.url))
    assert await site.crashes(send_trace, event, after=2)
    assert await _delete_payloads(site) == 1
    assert len(server.batches) == 1


@pytest.mark.requirement(SECTION, SENT_ONCE)
async def test_only_the_own_tenant_deletes_a_payload(site: Site, server: TraceServer, settings: Settings) -> None:
    """What is refused becomes a dead letter. It does not count as a trace that was not sent."""
    app = await add_traced_app(site, server.url)
    event = (await _recorded(site, app)).model_copy(update={"sent": True})
    foreign = event.model_copy(update={"tenant_id": str(uuid4())})
    with pytest.raises(Permanent, match="another tenant") as found:
        await site.run(send_trace, foreign)
    assert await _stored(site, event)
    await site.die(send_trace, event, found.value)
    counter = f"FAILED_OPS_TRACE_{app.id}"
    assert await job_state(settings, [counter]) == {}
    for _ in range(2):  # The deletion is repeated.
        await site.run(send_trace, event)
    assert not await _stored(site, event)


@pytest.mark.requirement(SECTION, SENT_ONCE)
@pytest.mark.parametrize(
    ("refusal", "error", "text"),
    [
        (Refusal(429, {"Retry-After": "7"}), Retry, "429"),
        (Refusal(500), ServiceError, "500"),
        (Refusal(200, body=b"<html>"), ServiceError, "not a JSON object"),
        (Refusal(207, body=b'{"successes": [], "errors": []}'), ServiceError, "taken the whole trace"),
        (Refusal(silent=True), ServiceError, "does not answer"),
        (Refusal(401), Permanent, "401"),
    ],
    ids=["429", "500", "garbage", "nothing taken", "nothing", "401"],
)
async def test_a_failure_keeps_the_payload(
    site: Site, server: TraceServer, refusal: Refusal, error: type[Exception], text: str
) -> None:
    """The next attempt finds it."""
    event = await _recorded(site, await add_traced_app(site, server.url))
    server.refusals.append(refusal)
    with pytest.raises(error, match=text) as found:
        await site.run(send_trace, event)
    assert not isinstance(found.value, Retry) or found.value.after == 7.0
    assert await _stored(site, event)
    assert await site.published() == []
    await site.run(send_trace, event)
    assert await _delete_payloads(site) == 1


@pytest.mark.requirement(SECTION, "trace.recorded: no log has what a service answers, which may repeat the trace")
async def test_answers_are_not_logged(site: Site, server: TraceServer, capsys: pytest.CaptureFixture[str]) -> None:
    event = await _recorded(site, await add_traced_app(site, server.url))
    server.refusals.append(Refusal(400, body=b"How often may I be away? is too long"))
    with pytest.raises(Permanent) as found:
        await site.run(send_trace, event)
    assert "How often" not in capsys.readouterr().out + str(found.value)


@pytest.mark.requirement(SECTION, SENT_ONCE)
@pytest.mark.parametrize(
    ("status", "error"), [(400, Permanent), (429, Retry), (500, ServiceError)], ids=["400", "429", "500"]
)
async def test_a_part_that_langfuse_does_not_take_is_a_failure(
    site: Site, server: TraceServer, status: int, error: type[Exception]
) -> None:
    """The answer is 207, and names the part."""
    event = await _recorded(site, await add_traced_app(site, server.url))
    server.partly["generation-create"] = status
    with pytest.raises(error):
        await site.run(send_trace, event)
    assert await _stored(site, event)


@pytest.mark.requirement(SECTION, SENT_ONCE)
async def test_spans_that_an_otlp_endpoint_rejects_are_a_failure(site: Site, server: TraceServer) -> None:
    """The answer is 200, and says how many."""
    event = await _recorded(site, await add_traced_app(site, server.url, "otlp"))
    server.rejected_spans = 1
    with pytest.raises(Permanent, match="rejects 1 of 2 spans"):
        await site.run(send_trace, event)
    assert await _stored(site, event)


@pytest.mark.requirement(SECTION, "trace.recorded: a provider that is not known is a dead letter, and is counted")
async def test_an_unknown_provider_is_no_success(site: Site, server: TraceServer, settings: Settings) -> None:
    """The message names the providers that there are. The payload stays for a replay."""
    app = await add_traced_app(site, server.url, "langsmith")
    event = await _recorded(site, app)
    with pytest.raises(Permanent, match="'langsmith'; there are langfuse and otlp") as found:
        await site.run(send_trace, event)
    for _ in range(2):
        await site.die(send_trace, event, found.value)
    counter = f"FAILED_OPS_TRACE_{app.id}"
    assert await job_state(settings, [counter]) == {counter: ("2", False)}
    assert await _stored(site, event)


@pytest.mark.requirement(SECTION, "trace.recorded: what nobody wants any more is skipped, and says why")
@pytest.mark.parametrize("case", ["off", "inactive", "gone", "empty"])
async def test_what_nobody_wants_is_skipped(site: Site, server: TraceServer, case: str) -> None:
    """Nothing is sent, the reason is the result, and the payload is deleted."""
    app = await add_traced_app(site, server.url, enabled=case != "off", is_active=case != "inactive")
    info = None if case == "empty" else message_info(str(uuid4()))
    event = await record(site, app, "MessageTraceInfo", info)
    if case == "gone":
        await site.delete(App, id=app.id)
    reasons = {
        "off": "the app's tracing is turned off",
        "inactive": "the configuration of the trace provider 'langfuse' is not active",
        "gone": "the app does not exist any more",
        "empty": "the trace is empty",
    }
    assert await site.run(send_trace, event) == {"skipped": reasons[case]}
    assert await _delete_payloads(site) == 1
    assert server.requests == []


async def test_an_unusual_payload_is_sent_with_what_it_has(site: Site, server: TraceServer) -> None:
    """Python writes NaN and halves of surrogate pairs, which are not JSON. Times may be no times."""
    app, message_id = await add_traced_app(site, server.url), str(uuid4())
    odd = {"start_time": "0001-01-01T00:00:00+14:00", "end_time": 7, "message_data": None, "conversation_mode": None}
    info = message_info(message_id, outputs="half \ud83d", inputs=float("nan"), **odd)
    event = await record(site, app, "MessageTraceInfo", info)
    await site.run(send_trace, event)
    ((trace, generation),) = server.batches
    assert (trace["body"]["output"], generation["body"]["input"]) == ("half ?", "NaN")
    assert trace["body"]["tags"] == ["message"]
    assert generation["body"]["startTime"] == generation["body"]["endTime"]


@pytest.mark.requirement(SECTION, "trace.recorded: a payload that is missing or damaged is no success")
async def test_a_damaged_payload_is_no_success(site: Site, server: TraceServer) -> None:
    app = await add_traced_app(site, server.url)
    missing = TraceRecorded(tenant_id=site.tenant_id, app_id=app.id, file_id=uuid4().hex)
    with pytest.raises(Retry, match="is not in the storage"):
        await site.run(send_trace, missing)
    for content, problem in (
        (b"\xff", "is not JSON"),
        (b"[]", "is not one of this app"),
        (f'{{"app_id": "{uuid4()}", "trace_info": {{}}}}'.encode(), "is not one of this app"),
        (f'{{"app_id": "{app.id}", "trace_info": 7}}'.encode(), "has no fields"),
        (f'{{"app_id": "{app.id}", "trace_info_type": "New", "trace_info": {{}}}}'.encode(), "'New' are not known"),
    ):
        await site.platform.storage.write(payload_key(missing), content)
        with pytest.raises(Permanent, match=problem):
            await site.run(send_trace, missing)
    outside = missing.model_copy(update={"file_id": "../../privkeys/x"})
    with pytest.raises(Permanent, match="is not the name of a payload"):
        await site.run(send_trace, outside)
    assert server.requests == []
