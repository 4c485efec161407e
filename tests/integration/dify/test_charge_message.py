"""Messages are charged as if each was processed alone, in order."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from schemas import MessageCreated
from streams.agents.apps.message_quota import charge_message
from streams.delivery import Permanent
from streams.dify.models import Provider, utc_now
from tests.support.platform.handler_runs import Site, open_site
from tests.support.platform.provider_rows import make_provider

TENANT = "0b6ac1e8-67e1-4a3f-8f4c-6cf0a1f6a001"
ONE_BY_ONE = text("""
update providers set quota_used = quota_used + :used
where tenant_id = :tenant and provider_name = :name and provider_type = 'system' and quota_type = :quota_type
  and quota_limit > quota_used
""")


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


def make_message(tenant_id: str | None, **fields: object) -> MessageCreated:
    known: dict[str, object] = {
        "tenant_id": tenant_id,
        "message_id": str(uuid4()),
        "app_id": str(uuid4()),
        "provider_name": "openai",
        "provider_name_long": "langgenius/openai/openai",
        "model": "gpt-4o",
        "provider_type": "system",
        "quota_type": "trial",
        "quota_unit": "tokens",
        "quota_limit": 1000,
        "message_tokens": 30,
        "answer_tokens": 70,
    }
    return MessageCreated.model_validate({**known, **fields})


async def _row(site: Site, provider: Provider) -> Provider:
    async with site.transaction() as session:
        return await session.get_one(Provider, provider.id)


async def _used(site: Site, provider: Provider) -> int | None:
    return (await _row(site, provider)).quota_used


@pytest.mark.parametrize(
    ("fields", "used"),
    [
        ({"quota_unit": "tokens"}, 100),
        ({"quota_unit": "times"}, 1),
        ({"quota_unit": "credits", "credits": 7}, 7),
        ({"quota_limit": -1}, 0),
        ({"quota_type": "paid"}, 0),
        ({"quota_unit": None, "quota_type": None}, 0),
        ({"provider_name": "anthropic", "provider_name_long": None}, 0),
    ],
)
async def test_what_one_message_costs(site: Site, fields: dict[str, object], used: int) -> None:
    """By unit. Unlimited, another quota type, none, or another provider: no charge."""
    provider = make_provider(site.tenant_id)
    await site.add(provider)
    await site.run_batch(charge_message, [make_message(site.tenant_id, **fields)])
    assert await _used(site, provider) == used


@pytest.mark.requirement("The work on the platform's tables", "the limit in the middle of a batch")
async def test_the_limit_is_met_in_the_middle_of_a_batch(site: Site) -> None:
    """950 of 1000 are used: the first 100 are charged in full, the second 100 not at all."""
    provider = make_provider(site.tenant_id, quota_used=950)
    await site.add(provider)
    await site.run_batch(charge_message, [make_message(site.tenant_id) for _ in range(2)])
    assert await _used(site, provider) == 1050


@pytest.mark.requirement(
    "The work on the platform's tables",
    "rows match either name; custom touches only `last_used`",
)
@pytest.mark.requirement(
    "Faults of others", "S8: the row of the short provider name is charged, the long one without it"
)
async def test_either_name_finds_the_row(site: Site) -> None:
    """A row may have the short name or the plugin's name. The platform charges the short one if both exist."""
    short = make_provider(site.tenant_id)
    long = make_provider(site.tenant_id, provider_name="langgenius/openai/openai")
    other = make_provider(str(uuid4()))
    only_long = make_provider(str(uuid4()), provider_name="langgenius/openai/openai")
    await site.add(short, long, other, only_long)
    await site.run_batch(
        charge_message,
        [
            make_message(site.tenant_id),
            make_message(site.tenant_id, provider_name_long=None),
            make_message(only_long.tenant_id),
        ],
    )
    assert [await _used(site, row) for row in (short, long, other, only_long)] == [200, 0, 0, 100]


@pytest.mark.requirement(
    "The work on the platform's tables",
    "rows match either name; custom touches only `last_used`",
)
async def test_custom_touches_only_last_used_and_not_too_often(site: Site) -> None:
    """A custom provider is not charged. last_used is updated if it is null or 300 s old."""
    now = utc_now()
    never, long_ago, just_now = (
        make_provider(str(uuid4()), provider_type="custom", quota_type="", quota_limit=None, last_used=last_used)
        for last_used in (None, now - timedelta(seconds=301), now - timedelta(seconds=200))
    )
    await site.add(never, long_ago, just_now)
    rows = (never, long_ago, just_now)
    await site.run_batch(
        charge_message,
        [make_message(row.tenant_id, provider_type="custom", quota_type=None, quota_unit=None) for row in rows],
    )
    moved = [(await _row(site, row)).last_used for row in rows]
    assert moved[0] is not None
    assert abs(moved[0] - now) < timedelta(seconds=60)
    assert moved[0] == moved[1]
    assert moved[2] == just_now.last_used
    assert [await _used(site, row) for row in rows] == [0, 0, 0]


async def test_a_system_message_notes_the_use_too(site: Site) -> None:
    """Both the charged row and the custom row of that provider were used."""
    system, custom = make_provider(site.tenant_id), make_provider(site.tenant_id, provider_type="custom", quota_type="")
    await site.add(system, custom)
    await site.run_batch(charge_message, [make_message(site.tenant_id)])
    assert (await _row(site, system)).last_used is not None
    assert (await _row(site, custom)).last_used is not None


@pytest.mark.requirement("The work on the platform's tables", "charge a message as if one by one")
async def test_a_batch_ends_like_one_by_one(site: Site) -> None:
    """400 random messages over tenants, names, types and units give the same rows as the platform's own UPDATE."""
    chance = random.Random(7)
    batch, single = [str(uuid4()) for _ in range(4)], [str(uuid4()) for _ in range(4)]
    rows: dict[tuple[str, int, str, str], Provider] = {}
    for side, tenants in (("batch", batch), ("single", single)):
        for index, tenant_id in enumerate(tenants):
            for name in ("openai", "langgenius/openai/openai"):
                for quota_type in ("trial", "paid"):
                    limit = 400 * (index + 1) if name == "openai" else 900
                    row = make_provider(tenant_id, provider_name=name, quota_type=quota_type, quota_limit=limit)
                    rows[side, index, name, quota_type] = row
    await site.add(*rows.values())
    messages = []
    for _ in range(400):
        index = chance.randrange(4)
        fields = {
            "quota_type": chance.choice(["trial", "paid"]),
            "message_tokens": chance.randrange(60),
            "answer_tokens": chance.randrange(60),
            "provider_name_long": chance.choice([None, "langgenius/openai/openai"]),
        }
        messages.append((index, make_message(batch[index], **fields)))

    for start in range(0, 400, 150):
        await site.run_batch(charge_message, [event for _, event in messages[start : start + 150]])
    async with site.transaction() as session:
        for index, event in messages:
            used = event.message_tokens + event.answer_tokens
            arguments = {
                "used": used,
                "tenant": single[index],
                "name": event.provider_name,
                "quota_type": event.quota_type,
            }
            await session.execute(ONE_BY_ONE, arguments)

    for (side, index, name, quota_type), row in rows.items():
        if side == "batch":
            twin = rows["single", index, name, quota_type]
            assert await _used(site, row) == await _used(site, twin), (index, name, quota_type)
    assert any([await _used(site, row) >= (row.quota_limit or 0) for row in rows.values()])  # type: ignore[operator]  # not null in this test


async def test_batches_at_the_same_time_lose_nothing(site: Site) -> None:
    """Eight workers charge the same providers in opposite orders: no deadlock, and the sum is correct."""
    tenants = [str(uuid4()) for _ in range(6)]
    rows = [make_provider(tenant_id, quota_limit=10**9) for tenant_id in tenants]
    await site.add(*rows)

    async def charge(number: int) -> None:
        order = tenants if number % 2 else tenants[::-1]
        for _ in range(5):
            await site.run_batch(charge_message, [make_message(tenant_id) for tenant_id in order * 3])

    await asyncio.wait_for(asyncio.gather(*(charge(number) for number in range(8))), 60)

    assert [await _used(site, row) for row in rows] == [8 * 5 * 3 * 100] * 6


@pytest.mark.requirement("Faults of others", "M6: a message cannot give quota back, or exceed the column")
@pytest.mark.requirement("Faults of others", "L9: what no column can contain is refused at once")
@pytest.mark.parametrize(
    ("tenant_id", "fields", "message"),
    [
        (None, {}, "names no tenant"),
        ("acme", {}, "tenant_id 'acme' is not a UUID"),
        (TENANT, {"quota_unit": "credits", "credits": None}, "credits is missing"),
        (TENANT, {"message_tokens": -5000}, "message_tokens is -5000"),
        (TENANT, {"answer_tokens": 2**31}, "answer_tokens is 2147483648"),
        (TENANT, {"credits": -1}, "credits is -1"),
        (TENANT, {"provider_name": "open\x00ai"}, "provider_name 'open.x00ai' is not a text"),
        (TENANT, {"provider_name_long": "x" * 300}, "provider_name_long 'x+' is not a text"),
    ],
)
async def test_what_cannot_be_charged_is_refused_for_good(
    site: Site, tenant_id: str | None, fields: dict[str, object], message: str
) -> None:
    """Permanent. The other messages of its batch are not charged with it; the engine splits the batch."""
    provider = make_provider(site.tenant_id)
    await site.add(provider)
    with pytest.raises(Permanent, match=message):
        await site.run_batch(charge_message, [make_message(site.tenant_id), make_message(tenant_id, **fields)])
    assert await _used(site, provider) == 0
