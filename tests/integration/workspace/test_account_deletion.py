"""The deletion of an account: the billing service is told, then the person, in one transaction."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from schemas import AccountDeletionRequested, MailRequested
from streams.agents.workspace.account import delete_account
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.accounts.billing import build_billing
from streams.dify.models import Account, TenantAccountJoin
from streams.settings import Settings
from streams.testing import Run, run
from tests.support.fakes.json_api import GARBAGE, NOTHING, JsonApi, Reply, json_api

SECTION = "The whole domain"


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    await engine.dispose()


@pytest.fixture
async def account(rows: AsyncEngine) -> Account:
    """Return a member of one tenant, who reads Chinese."""
    made = Account(id=str(uuid4()), name="Ada", email="ada.lovelace@example.org", interface_language="zh-Hans")
    async with AsyncSession(rows, expire_on_commit=False) as session, session.begin():
        session.add(made)
        session.add(TenantAccountJoin(tenant_id=str(uuid4()), account_id=made.id))
    return made


@pytest.fixture
def billing() -> Iterator[tuple[JsonApi, str]]:
    with json_api() as opened:
        yield opened


async def delete(rows: AsyncEngine, account_id: str, url: str | None, seconds: float = 20, **more: object) -> Run:
    known = {"billing_url": url, "billing_key": "billing-key", "service_request_timeout": seconds}
    billing = build_billing(Settings.model_validate(known))
    requested = AccountDeletionRequested.model_validate({"account_id": account_id, **more})
    return await run(delete_account, requested, engine=rows, services=[billing])


@pytest.mark.requirement(SECTION, "account.deletion-requested: the billing service is told, then the person by mail")
async def test_billing_and_the_person_are_told(
    rows: AsyncEngine, account: Account, billing: tuple[JsonApi, str]
) -> None:
    server, url = billing
    done = await delete(rows, account.id, url)

    (asked,) = server.requests
    assert (asked.method, asked.path) == ("DELETE", f"/account/?account_id={account.id}")
    assert asked.headers["billing-api-secret-key"] == "billing-key"
    assert done.result == {"billing": "told"}
    (published,) = done.published
    assert isinstance(published.event, MailRequested)
    assert published.event.kind == "account-deletion-success"
    assert (published.event.to, published.event.language) == ([account.email], "zh-Hans")
    async with AsyncSession(rows) as session:
        assert await session.get(Account, account.id) is not None


async def test_a_deployment_without_billing_only_sends_the_mail(rows: AsyncEngine, account: Account) -> None:
    done = await delete(rows, account.id, None)
    assert done.result == {"billing": "not configured"}
    assert len(done.published) == 1


async def test_an_account_that_billing_has_deleted_before_is_deleted(
    rows: AsyncEngine, account: Account, billing: tuple[JsonApi, str]
) -> None:
    """A repeated attempt finds nothing there."""
    server, url = billing
    server.answer = lambda _asked, _before: Reply(404)
    assert len((await delete(rows, account.id, url)).published) == 1


@pytest.mark.requirement(SECTION, "account.deletion-requested: no mail before the billing service is told")
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(500), Unavailable),
        (GARBAGE, Unavailable),
        (NOTHING, Unavailable),
        (Reply(429, b"{}", {"Retry-After": "9"}), Retry),
        (Reply(401, b'{"message": "wrong key"}'), Permanent),
    ],
)
async def test_no_mail_before_billing_is_told(
    rows: AsyncEngine, account: Account, billing: tuple[JsonApi, str], reply: Reply, expected: type[Exception]
) -> None:
    """The mail is published in the transaction that records the success, so not at all."""
    server, url = billing
    server.answer = lambda _asked, _before: reply
    with pytest.raises(expected):
        await delete(rows, account.id, url, seconds=0.5 if reply is NOTHING else 20)


@pytest.mark.requirement(SECTION, "account.deletion-requested: an account of another tenant is not deleted")
async def test_an_account_of_another_tenant_or_of_nobody_is_a_dead_letter(
    rows: AsyncEngine, account: Account, billing: tuple[JsonApi, str]
) -> None:
    server, url = billing
    with pytest.raises(Permanent, match="belongs to another tenant than the event"):
        await delete(rows, account.id, url, tenant_id=str(uuid4()))
    with pytest.raises(Permanent, match="does not exist"):
        await delete(rows, str(uuid4()), url)
    with pytest.raises(Permanent, match="is not a UUID"):
        await delete(rows, "ada", url)
    assert server.requests == []
