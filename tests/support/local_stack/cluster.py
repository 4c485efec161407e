"""The topics on the stack's Kafka brokers."""

from functools import cache

from confluent_kafka.admin import AdminClient

from tests.support.processes.worker_process import wait_for


@cache
def admin_client(servers: str) -> AdminClient:
    """Return the session's client of these brokers. It stays open, since closing it would cancel its requests."""
    return AdminClient({"bootstrap.servers": servers, "log_level": 0})


def topic_names(servers: str) -> list[str]:
    """Return the names of all topics."""
    return list(admin_client(servers).list_topics(timeout=10).topics)


def delete_topic(servers: str, topic: str) -> None:
    """Delete a topic, and return when the brokers no longer name it: they confirm a deletion before they apply it."""
    admin_client(servers).delete_topics([topic])[topic].result(10)
    wait_for(lambda: topic not in topic_names(servers), "the topic to be gone")


def delete_topics(servers: str, prefix: str) -> None:
    """Request the deletion of the topics with this prefix, without waiting for it.

    Creating topics takes longer on a cluster with many unused topics.
    """
    if names := [name for name in topic_names(servers) if name.startswith(prefix)]:
        admin_client(servers).delete_topics(names)
