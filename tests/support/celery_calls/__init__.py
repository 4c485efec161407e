"""The 52 Celery tasks of Dify 1.9.2: names, parameters, the values of its calls, and their events.

The names and parameters are facts about the platform, copied by hand. A parameter with a default ends with ``?``.
"""

from tests.support.celery_calls.apps import ANNOTATIONS, WORKFLOWS
from tests.support.celery_calls.call import Call
from tests.support.celery_calls.knowledge import CLEANUP, INDEXING, SEGMENTS
from tests.support.celery_calls.workspace import MAILS, WORKSPACES

CALLS: tuple[Call, ...] = (*INDEXING, *CLEANUP, *SEGMENTS, *ANNOTATIONS, *MAILS, *WORKFLOWS, *WORKSPACES)
