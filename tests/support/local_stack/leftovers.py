"""What earlier runs have left on a kept stack, and its removal.

Every run holds an advisory lock for its name. The server frees it when the run ends, however it ends, so a lock that
can be had belongs to a run that is over.
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
"""First key of the runs' advisory locks; the second is the run."""
_TEMPLATES = 0x7465_7376
"""First key of the templates' advisory locks, which their users share; the second is the template's digest."""
_OURS = re.compile(r"t([0-9a-f]{6})[0-9a-f]{4}")
"""Begins the name of every database and topic of a test; see `Stack.fresh_name`."""


@contextmanager
def registered(stack: Stack) -> Iterator[None]:
    """Say that this run is alive, and remove in the background what ended runs have left."""
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
    """Remove one thing after another until all is done or the run ends; the next run goes on."""
    with admin(stack) as connection:
        databases = [name for (name,) in connection.execute("select datname from pg_database")]
        servers = stack.environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]
        topics = topic_names(servers)
        over = {run: _lock(connection, _RUNS, int(run, 16)) for run in {*map(_run_of, (*databases, *topics))} if run}
        unwanted = [name for name in topics if over.get(_run_of(name))]
        if unwanted and not ended.is_set():
            _delete_topics(servers, unwanted)
        for name in databases:
            if ended.is_set():
                return
            if over.get(_run_of(name)):
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
    """The run that made the database or topic; empty for one that no test has made."""
    found = _OURS.match(name)
    return found[1] if found else ""


def _number(template: str) -> int:
    """The digest in the name of a template, be it finished or not."""
    return int(template.partition(TEMPLATES)[2], 16)


def _lock(connection: psycopg.Connection, kind: int, key: int) -> bool:
    """Take the lock, which the connection then holds to its end. False: another has it."""
    found = connection.execute("select pg_try_advisory_lock(%s, %s)", (kind, key)).fetchone()
    return bool(found and found[0])
