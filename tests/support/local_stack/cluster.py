"""The topics of the stack's Kafka, whoever made them."""

from functools import cache

from confluent_kafka.admin import AdminClient


@cache
def admin_client(servers: str) -> AdminClient:
    """The session's client of these brokers. It lives on, since requests under way end with their client."""
    return AdminClient({"bootstrap.servers": servers, "log_level": 0})


def topic_names(servers: str) -> list[str]:
    """Every topic on the brokers."""
    return list(admin_client(servers).list_topics(timeout=10).topics)


def delete_topics(servers: str, prefix: str) -> None:
    """Ask for the deletion of the topics whose names begin so; does not wait for it.

    Many topics that nobody uses would make each next test's topics slower to make.
    """
    if names := [name for name in topic_names(servers) if name.startswith(prefix)]:
        admin_client(servers).delete_topics(names)
