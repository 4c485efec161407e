"""Events with a body of any size, and handlers that tell what they got of it."""

import hashlib

from schemas import Event
from streams.delivery import Backoff, Permanent, Work, handles
from streams.topics import Topic


class ReportRequested(Event):
    """File and bind a report; `fails` names a handler that refuses it, as long as the report is a draft."""

    report_id: str
    text: str
    fails: str = ""
    copies: int = 0


def told(event: ReportRequested) -> str:
    """The body, in short."""
    return hashlib.sha256(event.text.encode()).hexdigest()


@handles(ReportRequested, retry=Backoff(first="1s", attempts=2, jitter=0))
async def file_report(event: ReportRequested, work: Work) -> str:
    """Refuse it, fail once, or pass a copy on."""
    if event.fails == "file":
        raise Permanent("it is not signed")
    if event.fails == "once" and work.attempt == 1:
        raise RuntimeError("the shelf is full")
    if event.copies:
        await work.publish(ReportRequested(report_id=f"{event.report_id}-copy", text=event.text + "!"))
    return told(event)


@handles(ReportRequested, kind="long", resource=lambda event: f"report:{event.report_id}")
async def bind_report(event: ReportRequested, work: Work) -> str:
    """In the ledger's custody."""
    async with work.step():
        return told(event)


TOPICS = (Topic("report.requested", ReportRequested, key="report_id", pool="default", partitions=1),)
HANDLERS = (file_report, bind_report)
