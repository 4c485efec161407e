"""The notices to owners about disabled documents: one mail, and logs that are marked with it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from schemas import DocumentNoticesRequested, MailRequested
from streams.agents.maintenance import document_notices
from streams.agents.maintenance.document_notices import notify_document_owners
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.accounts import disabled_documents
from streams.dify.accounts.billing import build_billing
from streams.dify.mail.mailer import build_mailer
from streams.dify.models import Account, Dataset, DatasetAutoDisableLog, Tenant, TenantAccountJoin
from streams.settings import Settings
from streams.testing import run
from tests.support.fakes.json_api import GARBAGE, NOTHING, JsonApi, Reply, json_api

SECTION = "Schedules"
MAIL = {"mail_type": "smtp", "mail_from": "no-reply@acme.example"}


@dataclass
class Notices:
    """A platform with billing, on which tenants have logs."""

    engine: AsyncEngine
    billing: JsonApi
    settings: dict[str, object]
    mails: list[MailRequested] = field(default_factory=list)
    following: list[DocumentNoticesRequested] = field(default_factory=list)

    async def add_tenant(self, logs: int = 1, *, parts: str = "tenant owner dataset", name: str = "Handbook") -> str:
        """Add a tenant with logs of one dataset. `parts` says which of its rows exist."""
        tenant, account, dataset = str(uuid4()), str(uuid4()), str(uuid4())
        async with AsyncSession(self.engine) as session, session.begin():
            if "tenant" in parts:
                session.add(Tenant(id=tenant, name="Engines"))
            if "owner" in parts:
                email = f"{account[:8]}@people.example"
                session.add(Account(id=account, name="Ada", email=email, interface_language="zh-Hans"))
                session.add(TenantAccountJoin(tenant_id=tenant, account_id=account, role="owner"))
                session.add(TenantAccountJoin(tenant_id=tenant, account_id=str(uuid4()), role="admin"))
            if "dataset" in parts:
                session.add(Dataset(id=dataset, tenant_id=tenant, name=name, created_by=account))
            for _ in range(logs):
                session.add(DatasetAutoDisableLog(tenant_id=tenant, dataset_id=dataset, document_id=str(uuid4())))
        return tenant

    async def notify(self, event: DocumentNoticesRequested | None = None, **more: object) -> object:
        settings = Settings.model_validate({**self.settings, **more})
        done = await run(
            notify_document_owners,
            event or DocumentNoticesRequested(),
            engine=self.engine,
            services=[build_mailer(settings), build_billing(settings)],
        )
        events = [one.event for one in done.published]
        self.mails += [one for one in events if isinstance(one, MailRequested)]
        self.following = [one for one in events if isinstance(one, DocumentNoticesRequested)]
        return done.result

    async def open_logs(self) -> int:
        async with AsyncSession(self.engine) as session:
            query = select(DatasetAutoDisableLog.id).where(DatasetAutoDisableLog.notified.is_(False))
            return len((await session.scalars(query)).all())


def plan(name: str) -> Reply:
    return Reply(200, f'{{"subscription": {{"plan": "{name}", "interval": ""}}}}'.encode())


@pytest.fixture
def billing() -> Iterator[tuple[JsonApi, str]]:
    with json_api() as opened:
        opened[0].answer = lambda _asked, _before: plan("professional")
        yield opened


@pytest.fixture
async def notices(database_url: str, billing: tuple[JsonApi, str]) -> AsyncIterator[Notices]:
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    settings = {**MAIL, "billing_url": billing[1], "billing_key": "key", "service_request_timeout": 2}
    yield Notices(engine, billing[0], settings)
    await engine.dispose()


@pytest.mark.requirement(SECTION, "mail-clean-document-notify: one mail to a tenant's owner, and its logs are marked")
async def test_the_owner_gets_one_mail(notices: Notices) -> None:
    """A repetition finds nothing. Today a failure after the mail sends it again."""
    tenant = await notices.add_tenant(3)
    assert await notices.notify() == {"done": True, "tenants": 1, "logs": 3, "mails": 1}
    [mail] = notices.mails
    assert (mail.kind, mail.tenant_id, mail.language) == ("document-notice", tenant, "zh-Hans")
    assert (mail.account_name, mail.workspace_name, mail.substitutions) == ("Ada", "Engines", {"Handbook": "3"})
    assert mail.to[0].endswith("@people.example")
    [asked] = notices.billing.requests
    assert (asked.method, asked.path) == ("GET", f"/subscription/info?tenant_id={tenant}")
    assert asked.headers["billing-api-secret-key"] == "key"
    assert await notices.notify() == {"done": True}
    assert await notices.open_logs() == 0
    assert len(notices.mails) == len(notices.billing.requests) == 1


@pytest.mark.requirement(
    SECTION, "mail-clean-document-notify: without billing, or of the plan sandbox: marked, no mail"
)
@pytest.mark.parametrize("case", ["no billing", "sandbox", "unknown tenant"])
async def test_tenants_that_are_not_told(notices: Notices, case: str) -> None:
    await notices.add_tenant(2)
    notices.billing.answer = lambda _asked, _before: plan("sandbox") if case == "sandbox" else Reply(404)
    url = {"billing_url": None} if case == "no billing" else {}
    assert await notices.notify(**url) == {"done": True, "tenants": 1, "logs": 2}
    assert (notices.mails, await notices.open_logs()) == ([], 0)


@pytest.mark.requirement(SECTION, "mail-clean-document-notify: logs without a tenant, an owner or a dataset are marked")
@pytest.mark.parametrize(
    ("parts", "more"),
    [
        ("owner dataset", {"without_owner": 1}),
        ("tenant dataset", {"without_owner": 1}),
        ("tenant owner", {}),
    ],
)
async def test_logs_of_what_is_gone(notices: Notices, parts: str, more: dict[str, int]) -> None:
    """Today logs without a tenant or an owner are never marked, and read again every week."""
    await notices.add_tenant(parts=parts)
    assert await notices.notify() == {"done": True, "tenants": 1, "logs": 1, **more}
    assert (notices.mails, await notices.open_logs()) == ([], 0)


@pytest.mark.requirement(
    SECTION, "mail-clean-document-notify: a billing service that fails is a retry, nothing is marked"
)
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(500), Unavailable),
        (GARBAGE, Unavailable),
        (NOTHING, Unavailable),
        (Reply(200, b"[]"), Unavailable),
        (Reply(429, b"{}", {"Retry-After": "9"}), Retry),
        (Reply(401), Permanent),
    ],
)
async def test_billing_fails(notices: Notices, reply: Reply, expected: type[Exception]) -> None:
    """The first tenant has a plan, and the second one gets no answer: neither is marked or told."""
    await notices.add_tenant()
    await notices.add_tenant()
    notices.billing.answer = lambda _asked, before: reply if before else plan("team")
    with pytest.raises(expected):
        await notices.notify()
    assert (notices.mails, await notices.open_logs()) == ([], 2)
    notices.billing.answer = lambda _asked, _before: plan("team")
    assert await notices.notify() == {"done": True, "tenants": 2, "logs": 2, "mails": 2}


@pytest.mark.requirement(SECTION, "mail-clean-document-notify: many tenants are walked in steps, each is told once")
async def test_many_tenants(notices: Notices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of two, and steps without time: each does one tenant. Tenants without open logs are passed."""
    monkeypatch.setattr(disabled_documents, "PAGE", 2)
    monkeypatch.setattr(document_notices, "STEP_SECONDS", 0.0)
    await notices.add_tenant()
    await notices.notify()
    known = {await notices.add_tenant() for _ in range(5)} | {str(notices.mails[0].tenant_id)}
    event, steps = DocumentNoticesRequested(), 0
    while True:
        result, steps = await notices.notify(event), steps + 1
        assert isinstance(result, dict)
        if result["done"]:
            break
        [event] = notices.following
    assert steps == 7
    assert (len(notices.mails), {mail.tenant_id for mail in notices.mails}) == (6, known)


async def test_two_runs_at_once_tell_once(notices: Notices) -> None:
    for _ in range(3):
        await notices.add_tenant()
    await asyncio.gather(*(notices.notify() for _ in range(3)))
    assert len({mail.tenant_id for mail in notices.mails}) == len(notices.mails) == 3


async def test_a_long_list_of_datasets_is_cut(notices: Notices, monkeypatch: pytest.MonkeyPatch) -> None:
    """The datasets with most documents are named."""
    monkeypatch.setattr(disabled_documents, "MOST_NAMED", 1)
    tenant = await notices.add_tenant(1)
    async with AsyncSession(notices.engine) as session, session.begin():
        for name, logs in (("Laws", 3), ("Recipes", 2)):
            dataset = Dataset(id=str(uuid4()), tenant_id=tenant, name=name, created_by=tenant)
            session.add(dataset)
            for _ in range(logs):
                session.add(DatasetAutoDisableLog(tenant_id=tenant, dataset_id=dataset.id, document_id=str(uuid4())))
    await notices.notify()
    assert notices.mails[0].substitutions == {"Laws": "3", "…": "3"}


@pytest.mark.requirement(SECTION, "mail-clean-document-notify: without a mail service nothing is marked")
async def test_without_a_mail_service(notices: Notices) -> None:
    await notices.add_tenant()
    result = await notices.notify(mail_type="none")
    assert isinstance(result, dict)
    assert "STREAMS_MAIL_TYPE" in str(result["why"])
    assert await notices.open_logs() == 1
