"""Removes databases and topics that earlier runs have left on a kept stack.

Every run holds an advisory lock for its name. The server releases it when the run ends for any reason, so a lock that
can be acquired belongs to a run that has ended.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import psycopg
from confluent_kafka import KafkaException

from tests.support.local_stack.cluster import admin_client, topic_names
from tests.support.local_stack.databases import TEMPLATES, admin, template_name
from tests.support.local_stack.stack import Stack

_RUNS = 0x7465_7374
"""The first key of the runs' advisory locks. The second key is the run."""
_TEMPLATES = 0x7465_7376
"""The first key of the templates' shared advisory locks. The second key is the template's digest."""
_OURS = re.compile(r"t([0-9a-f]{6})[0-9a-f]{4}")
"""The beginning of the name of every database and topic of a test; see `Stack.fresh_name`."""


@contextmanager
def register_run(stack: Stack) -> Iterator[None]:
    """Hold the lock of this run, and remove the leftovers of ended runs in the background."""
    with admin(stack) as connection:
        connection.execute("select pg_advisory_lock(%s, %s)", (_RUNS, int(stack.run, 16)))
        connection.execute("select pg_advisory_lock_shared(%s, %s)", (_TEMPLATES, _number(template_name())))
        ended = Event()
        thread = Thread(target=_remove, args=(stack, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _remove(stack: Stack, ended: Event) -> None:
    """Remove leftovers one by one until all are removed or the run ends. The next run continues."""
    with admin(stack) as connection:
        databases = [name for (name,) in connection.execute("select datname from pg_database")]
        servers = stack.environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]
        topics = topic_names(servers)
        has_ended = {
            run: _lock(connection, _RUNS, int(run, 16)) for run in {*map(_run_of, (*databases, *topics))} if run
        }
        unwanted = [name for name in topics if has_ended.get(_run_of(name))]
        if unwanted and not ended.is_set():
            _delete_topics(servers, unwanted)
        for name in databases:
            if ended.is_set():
                return
            if has_ended.get(_run_of(name)):
                connection.execute(f"drop database if exists {name} with (force)")
            elif TEMPLATES in name and _lock(connection, _TEMPLATES, _number(name)):
                connection.execute(f"drop database if exists {name}")


def _delete_topics(servers: str, names: list[str]) -> None:
    for future in admin_client(servers).delete_topics(names).values():
        try:
            future.result(30)
        except KafkaException:
            # Another run removes the same topics.
            continue


def _run_of(name: str) -> str:
    """Return the run that created a database or topic; an empty string if no test did."""
    found = _OURS.match(name)
    return found[1] if found else ""


def _number(template: str) -> int:
    """Return the digest in the name of a finished or unfinished template."""
    return int(template.partition(TEMPLATES)[2], 16)


def _lock(connection: psycopg.Connection, kind: int, key: int) -> bool:
    """Try to acquire a lock until the connection ends. Returns False if another session holds it."""
    found = connection.execute("select pg_try_advisory_lock(%s, %s)", (kind, key)).fetchone()
    return bool(found and found[0])
