"""Kafka, PostgreSQL and Redis on this machine, for the demo, the tests and development. Linux only.

There is no container engine, no root and no system service. The programs come from packages, their data is in one
folder, and they listen on 127.0.0.1 only. `down` leaves no process running.
"""

from streams.local.process import ServerFailedError
from streams.local.stack import LocalStack, ServerStatus, StackError

__all__ = ["LocalStack", "ServerFailedError", "ServerStatus", "StackError"]
