"""The header by which an HTTP endpoint says when it will listen again."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number of seconds or a date (RFC 9110, 10.2.3); None where there is neither."""
    if value is None:
        return None
    try:
        return max(float(int(value)), 0.0)
    except OverflowError:
        return None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(tz=UTC)).total_seconds(), 0.0)
