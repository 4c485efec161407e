"""How lag is calculated from Kafka's offsets, and for which partitions."""

from streams.observability.metrics import Lag
from streams.operations.lag import group_partitions, lag_of
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue

PLACE = ("document.deleted", 3)


def test_lag_counts_from_the_committed_offset() -> None:
    """The records until the end."""
    assert lag_of("streams.low", PLACE, committed=40, earliest=0, latest=100) == Lag(
        "streams.low", "document.deleted", 3, current_offset=40, end_offset=100, lag=60
    )


def test_nothing_committed_counts_from_the_earliest_record() -> None:
    """For a group that never ran, all records count that retention has not deleted."""
    never = lag_of("streams.low", PLACE, committed=None, earliest=30, latest=100)
    assert (never.current_offset, never.lag) == (30, 70)


def test_records_removed_by_retention_do_not_count() -> None:
    """They can no longer be settled."""
    late = lag_of("streams.low", PLACE, committed=10, earliest=30, latest=100)
    assert (late.current_offset, late.lag) == (30, 70)


def test_lag_is_never_negative() -> None:
    """The end may be read before a later commit."""
    assert lag_of("streams.low", PLACE, committed=101, earliest=0, latest=100).lag == 0


def test_a_pool_consumes_its_topics_and_every_tier_there_is() -> None:
    """Tiers of former delays too. Not topics of other pools or applications, not DLQs, not missing topics."""
    catalogue = Catalogue(BUILT_IN, Settings(application="shop", topic_prefix="eu."))
    existing = {
        "eu.document.deleted": 2,
        "eu.message.created": 1,
        "eu.shop.low.retry.7s": 1,
        "eu.shop.low.retry.0s": 2,
        "eu.shop.high.retry.0s": 1,
        "eu.document.deleted.shop.dlq": 2,
        "shop.low.retry.0s": 1,
        "document.deleted": 3,
    }
    assert group_partitions(catalogue, "low", existing) == [
        ("eu.document.deleted", 0),
        ("eu.document.deleted", 1),
        ("eu.shop.low.retry.0s", 0),
        ("eu.shop.low.retry.0s", 1),
        ("eu.shop.low.retry.7s", 0),
    ]
    assert group_partitions(catalogue, "default", existing) == []
