"""`streams doctor` asks the endpoints that the settings name, and names a remedy for what does not answer."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest

from streams.operations.doctor.endpoints import examine_endpoints
from streams.operations.doctor.finding import Finding
from streams.schema_registry.clients import open_http_registry
from streams.schema_registry.register import register
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.fakes.chat_server import ChatServer, Reply, chat_server
from tests.support.fakes.embedding_server import DIMENSIONS, EmbeddingServer, embedding_server
from tests.support.fakes.registry_server import RegistryServer, running_registry
from tests.support.processes.worker_process import free_port

SECTION = "Faults of others"
SECRET = "sk-not-to-be-shown"


@pytest.fixture
def embedding() -> Iterator[EmbeddingServer]:
    with embedding_server() as server:
        yield server


@pytest.fixture
def chat() -> Iterator[tuple[ChatServer, str]]:
    with chat_server() as server:
        yield server


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with running_registry(user="streams", password=SECRET) as server:
        yield server


def settings_of(**given: object) -> Settings:
    """Return settings with these values, and with the secret wherever a key belongs."""
    keys = {"embedding_api_key": SECRET, "chat_api_key": SECRET, "schema_registry_password": SECRET}
    return Settings.model_validate({**keys, **given})


def with_embedding(url: str, **given: object) -> Settings:
    return settings_of(embedding_url=url, embedding_provider="openai", embedding_model="test-model", **given)


def with_chat(url: str, **given: object) -> Settings:
    return settings_of(chat_url=f"{url}/v1", chat_model="test-model", **given)


def with_registry(url: str, **given: object) -> Settings:
    return settings_of(schema_registry_url=url, schema_registry_username="streams", **given)


def found(settings: Settings) -> Finding:
    """Return the one finding. It has no secret, and a remedy unless it is ok."""
    (finding,) = examine_endpoints(settings, load_catalogue(settings))
    assert SECRET not in finding.text + finding.remedy
    assert "\n" not in finding.text
    assert bool(finding.remedy) == (finding.state != "ok")
    assert not finding.stops_worker
    return finding


@pytest.mark.requirement(SECTION, "doctor: an endpoint that is not configured has no line")
def test_nothing_is_asked_without_a_setting() -> None:
    assert examine_endpoints(Settings(), load_catalogue(Settings())) == []


@pytest.mark.requirement(SECTION, "doctor: the embedding endpoint is asked for one vector")
def test_an_embedding_endpoint_that_answers(embedding: EmbeddingServer) -> None:
    """The declared length of its vectors is compared."""
    assert found(with_embedding(embedding.url)).state == "ok"
    assert found(with_embedding(embedding.url, embedding_dimensions=DIMENSIONS)).state == "ok"
    other = found(with_embedding(embedding.url, embedding_dimensions=DIMENSIONS + 1))
    assert (other.state, other.text) == ("fail", f"its vectors have {DIMENSIONS} numbers, not {DIMENSIONS + 1}")
    assert [len(texts) for texts in embedding.requests] == [1, 1, 1]
    assert set(embedding.keys) == {f"Bearer {SECRET}"}


@pytest.mark.parametrize(("status", "state"), [(401, "fail"), (500, "fail"), (429, "warning")])
def test_an_embedding_endpoint_that_refuses(embedding: EmbeddingServer, status: int, state: str) -> None:
    embedding.refusals.append((status, {}))
    finding = found(with_embedding(embedding.url))
    assert (finding.state, finding.text) == (state, f"the embedding model test-model answered {status}")


@pytest.mark.requirement(SECTION, "doctor: the chat endpoint is asked for one completion")
def test_a_chat_endpoint_that_answers(chat: tuple[ChatServer, str]) -> None:
    server, url = chat
    assert found(with_chat(url)).state == "ok"
    assert len(server.requests) == 1
    assert server.keys == [f"Bearer {SECRET}"]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply(401, SECRET.encode()), "the chat endpoint answered 401"),
        (Reply(503, SECRET.encode()), "the chat endpoint answered 503"),
        (Reply(200, json.dumps({"object": "page"}).encode()), "the chat endpoint's completion is invalid"),
    ],
)
def test_a_chat_endpoint_that_refuses(chat: tuple[ChatServer, str], reply: Reply, text: str) -> None:
    """It is asked once: a handler would ask again."""
    server, url = chat
    server.answer = lambda _, __: reply
    finding = found(with_chat(url))
    assert (finding.state, finding.text) == ("fail", text)
    assert len(server.requests) == 1


@pytest.mark.requirement(SECTION, "doctor: the schema registry is asked for the schema of each event")
def test_a_registry_that_answers(registry: RegistryServer) -> None:
    """Without the schemas, the remedy is the command that registers them."""
    settings = with_registry(registry.url)
    empty = found(settings)
    assert (empty.state, empty.remedy) == ("fail", "run `streams schemas register`")
    assert list(register(load_catalogue(settings), open_http_registry(settings)))
    assert found(settings).state == "ok"


def test_a_registry_that_refuses_the_account(registry: RegistryServer) -> None:
    registry.user = "another"
    finding = found(with_registry(registry.url))
    assert finding.state == "fail"
    assert "answers 401: Unauthorized" in finding.text


@pytest.mark.requirement(SECTION, "doctor: an endpoint that does not answer is a finding")
@pytest.mark.parametrize("settings_with", [with_embedding, with_chat, with_registry])
def test_no_server_answers(settings_with: Callable[[str], Settings]) -> None:
    finding = found(settings_with(f"http://127.0.0.1:{free_port()}"))
    assert finding.state == "fail"
    assert "does not answer" in finding.text


@pytest.mark.parametrize("chat_timeout", [0.2, 120.0])
def test_a_silent_endpoint_is_not_waited_for(
    chat: tuple[ChatServer, str], chat_timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler's time limit may be minutes. The shorter one of both counts."""
    server, url = chat
    monkeypatch.setattr("streams.operations.doctor.endpoints.LONGEST_WAIT", 0.5)
    asked_for_longer = threading.Event()

    def wait(_text: str, _before: int) -> Reply:
        asked_for_longer.wait(30)
        return Reply(503, b"")

    server.answer = wait
    try:
        finding = found(with_chat(url, chat_timeout=chat_timeout))
    finally:
        asked_for_longer.set()
    assert (finding.state, finding.text) == ("fail", "the chat endpoint does not answer: TimeoutError")
