"""Kafka, PostgreSQL and Redis on this machine: for the demo, the tests and a developer's day.

No container engine, no root, no service of the system: the programs come from packages, their data lives in one
folder, they listen on 127.0.0.1 only, and `down` leaves nothing running. Linux.
"""

from streams.local.process import ServerFailedError
from streams.local.stack import LocalStack, ServerStatus, StackError

__all__ = ["LocalStack", "ServerFailedError", "ServerStatus", "StackError"]
