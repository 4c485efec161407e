"""Mails by a real worker: each is sent once, what fails is seen, and codes are in the mail and nowhere else."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from schemas import AccountDeletionRequested, Event, MailCodeRequested, MailRequested
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings
from tests.integration.delivery.test_personal_data import records_of
from tests.support.cli import Commands
from tests.support.fakes.mail_server import MailServer, Received, mail_server
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for

SECTION = "The whole domain"
CODE, TOKEN = "493817", "tok-en-8731-abc"
ADA, CHARLES, BOUNCED, SLOW = (f"{name}@people.example" for name in ("ada.l", "charles", "bounced", "slow"))
OWNER = "owner.of.the.account@people.example"
MARKED = (CODE, TOKEN, ADA, CHARLES, BOUNCED, SLOW, OWNER)
OVERRIDES = """
[handlers.send-mail]
retry = { first = "1s" }
"""


def code(to: str, **fields: object) -> MailCodeRequested:
    return MailCodeRequested.model_validate({"kind": "email-code-login", "to": [to], "code": CODE, **fields})


def inner(body: str) -> MailRequested:
    return MailRequested(kind="inner", to=[ADA], subject="News", body=body, substitutions={"name": "Ada"})


def reply(server: MailServer) -> Callable[[str], str]:
    """Return the replies to receivers: one is unknown, one is greylisted once. The server repeats what it was told."""
    before = Counter[str]()

    def answer(receiver: str) -> str:
        before[receiver] += 1
        if receiver == BOUNCED:
            return f"550 5.1.1 <{receiver}> is unknown, so nobody gets {CODE}"
        if receiver == SLOW and before[receiver] == 1:
            return f"450 4.2.0 <{receiver}> is greylisted"
        assert server.attempts
        return "250 ok"

    return answer


def marked_values_in(value: object) -> list[str]:
    shown = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return [marked for marked in MARKED if marked in shown]


def add_account(engine: Engine) -> str:
    account_id = str(uuid4())
    with engine.begin() as connection:
        connection.execute(
            text("insert into accounts (id, name, email) values (:id, 'Owner', :email)"),
            {"id": account_id, "email": OWNER},
        )
    return account_id


@pytest.mark.requirement(
    SECTION,
    "mail.requested, mail.code-requested: sent once, also if redelivered; codes, tokens and addresses are masked "
    "everywhere but in the mail",
)
def test_codes_are_in_the_mails_and_nowhere_else(
    topics: Settings, engine: Engine, worker: Callable[..., WorkerProcess], commands: Commands, tmp_path: Path
) -> None:
    """The ledger, the index of dead letters, the DLQ, the log and the commands show stars instead."""
    overrides = tmp_path / "overrides.toml"
    overrides.write_text(OVERRIDES, encoding="utf-8")
    with mail_server() as (server, port):
        server.to = reply(server)
        one = worker(
            STREAMS_OVERRIDES=str(overrides),
            STREAMS_MAIL_TYPE="smtp",
            STREAMS_MAIL_FROM="Acme <no-reply@acme.example>",
            STREAMS_MAIL_SMTP_PORT=str(port),
            STREAMS_MAIL_TEMPLATES_TIMEOUT="1s",
        ).start()
        accepted, bounced = code(ADA), code(BOUNCED)
        old = code(ADA, occurred_at=datetime.now(tz=UTC) - timedelta(minutes=6))
        invited = MailRequested(
            kind="invite-member", to=[SLOW], token=TOKEN, inviter_name="Ada", workspace_name="Engines"
        )
        endless = inner("{% for a in range(9999) %}" * 4 + "{% endfor %}" * 4)
        large = inner("{% set x = 'x' * (10 ** 10) %}")
        both = code(ADA).model_copy(update={"to": [ADA, CHARLES]})
        deleted = AccountDeletionRequested(account_id=add_account(engine))
        events: list[Event] = [accepted, bounced, old, invited, endless, large, inner("Hi {{ name }}"), both, deleted]
        assert publish(topics, [*events, accepted]) == len(events) + 1
        settled = "select count(*) from streams.executions where status in ('success', 'failure')"
        # The mail to two receivers becomes two deliveries more, and the deletion of the account one.
        wait_for(lambda: scalar(engine, settled) == len(events) + 3, "every delivery to be settled", 60)
        assert one.stop() == 0
        received = server.received

    assert Counter(mail.receiver for mail in received) == {ADA: 3, SLOW: 1, CHARLES: 1, OWNER: 1}
    assert len({mail.message["Message-ID"] for mail in received}) == len(received)
    assert [CODE in found.part("plain") for found in of(received, accepted)] == [True]
    assert [TOKEN in found.part("html") for found in of(received, invited)] == [True]

    dead = {
        str(row["event_id"]): (row["reason"], row["error_message"])
        for row in rows(engine, "select event_id, reason, error_message from streams.dead_letters")
    }
    assert dead.pop(str(bounced.event_id)) == (
        "permanent",
        "the mail server rejects the receiver: 550 5.1.1 <***> is unknown, so nobody gets ***",
    )
    assert dead.pop(str(old.event_id))[0] == "expired"
    assert dead.pop(str(endless.event_id)) == (
        "permanent",
        "the template needs more than 1 s (STREAMS_MAIL_TEMPLATES_TIMEOUT)",
    )
    assert dead.pop(str(large.event_id)) == ("permanent", "the template needs too much memory")
    assert dead == {}

    for table in ("executions", "dead_letters", "outbox", "breakers"):
        for row in rows(engine, f"select * from streams.{table}"):
            assert marked_values_in(row) == [], table
    assert "send-code" in one.output()
    assert marked_values_in(one.output()) == []
    codes = build_catalogue(topics).of(MailCodeRequested).name
    for value, headers in records_of(topics, build_catalogue(topics).dlq(codes)):
        assert CODE not in str(value)
        assert marked_values_in(dict(headers)) == []
    for arguments in (
        ("executions", "list"),
        ("executions", "show", str(bounced.event_id)),
        ("executions", "show", str(invited.event_id)),
        ("dlq", "list"),
    ):
        for shown in (commands.run(*arguments), commands.run(*arguments, "--json")):
            assert shown.returncode == 0
            assert marked_values_in(shown.stdout) == []


def of(received: list[Received], event: Event) -> list[Received]:
    return [mail for mail in received if str(event.event_id) in mail.message["Message-ID"]]
