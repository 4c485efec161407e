"""An event with personal and secret fields, and handlers that write them wherever they can."""

from typing import Annotated, Literal

from pydantic import BaseModel
from sqlalchemy import text

from schemas import Event, Personal, Secret
from streams.delivery import Backoff, Permanent, Work, handles
from streams.observability.logs import get_logger
from streams.topics import Topic

log = get_logger(__name__)


class Recipient(BaseModel):
    mail: Annotated[str, Personal]
    locale: str = "en"


class InvitationRequested(Event):
    """An invitation with a secret code."""

    letter_id: str
    code: Annotated[str, Secret]
    recipients: list[Recipient]
    born: Annotated[str, Personal] | None = None
    plan: Literal["succeed", "retry", "die", "die in sql"] = "succeed"


@handles(InvitationRequested, retry=Backoff(first="1s", attempts=3, jitter=0))
async def invite(event: InvitationRequested, work: Work) -> str:
    """Write the fields to the log, an error, or the result."""
    who = ", ".join(recipient.mail for recipient in event.recipients)
    log.warning("inviting", who=who, code=event.code, born=event.born)
    if event.plan == "die in sql":
        await work.session.execute(text("select cast(:who as int)"), {"who": who})
    if event.plan == "die":
        raise Permanent(f"the code {event.code} of {who} is not valid") from ValueError(f"no {event.code}")
    if event.plan == "retry" and work.attempt == 1:
        raise ConnectionError(f"cannot reach {who} with {event.code!r}")
    return f"invited {who}, born {event.born}, with {event.code}"


async def forget(event: InvitationRequested, work: Work, error: BaseException) -> None:
    """Fail in `on_dead`, with the fields in the message."""
    raise RuntimeError(f"{event.code} of {event.recipients[0].mail} at attempt {work.attempt}: {error}")


@handles(InvitationRequested, on_dead=forget, retry=Backoff(first="1s", attempts=1))
async def note(event: InvitationRequested, work: Work) -> None:
    """Fail if the plan says so."""
    if event.plan.startswith("die"):
        raise ValueError({"code": event.code, "to": [recipient.mail for recipient in event.recipients]}, work.attempt)


TOPICS = (Topic("invitation.requested", InvitationRequested, key="letter_id", pool="high"),)
HANDLERS = (invite, note)
