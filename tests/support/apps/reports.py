"""Events with a body of any size, and handlers that return a digest of it."""

import hashlib

from schemas import Event
from streams.delivery import Backoff, Permanent, Work, handles
from streams.topics import Topic


class ReportRequested(Event):
    """A request to file and bind a report. `fails` says how `file_report` fails."""

    report_id: str
    text: str
    fails: str = ""
    copies: int = 0


def digest(event: ReportRequested) -> str:
    """Return the SHA-256 digest of the body."""
    return hashlib.sha256(event.text.encode()).hexdigest()


@handles(ReportRequested, retry=Backoff(first="1s", attempts=2, jitter=0))
async def file_report(event: ReportRequested, work: Work) -> str:
    """Reject the report, fail once, or publish a copy."""
    if event.fails == "file":
        raise Permanent("it is not signed")
    if event.fails == "once" and work.attempt == 1:
        raise RuntimeError("the shelf is full")
    if event.copies:
        await work.publish(ReportRequested(report_id=f"{event.report_id}-copy", text=event.text + "!"))
    return digest(event)


@handles(ReportRequested, kind="long", resource=lambda event: f"report:{event.report_id}")
async def bind_report(event: ReportRequested, work: Work) -> str:
    """Return the digest in a step of a long handler."""
    async with work.step():
        return digest(event)


TOPICS = (Topic("report.requested", ReportRequested, key="report_id", pool="default", partitions=1),)
HANDLERS = (file_report, bind_report)
