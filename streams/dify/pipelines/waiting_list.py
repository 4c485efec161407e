"""The waiting lists of tenants in the platform's Redis: a tenant without a paid plan runs one file at a time.

While the flag of a tenant is set, the platform's API puts further files at the left of the list. After each run, the
file at the right is next. Without a next file the flag is deleted. If nobody does this, the files wait for ever.
"""

from typing import cast
from uuid import UUID

from streams.dify.redis import RedisClients, answer_within

LIST = "tenant_self_pipeline_task_queue:{}"
FLAG = "tenant_pipeline_task:{}"
FLAG_SECONDS = 3600
TAKEN = "streams_pipeline_next:{}"
"""What the run of an event has taken from the list, so that a repeat takes nothing else."""
TAKEN_SECONDS = 7 * 86_400

_TAKE = """
local taken = redis.call('get', KEYS[3])
if taken then
    return taken
end
local file = redis.call('rpop', KEYS[1])
if file then
    taken = ARGV[1] .. ' ' .. file
    redis.call('set', KEYS[2], 1, 'EX', ARGV[2])
else
    taken = ''
    redis.call('del', KEYS[2])
end
redis.call('set', KEYS[3], taken, 'EX', ARGV[3])
return taken
"""
"""One step on the server: what is taken from the list is kept under the key of the event that took it."""


class WaitingLists:
    """The lists of all tenants."""

    def __init__(self, redis: RedisClients, seconds: float) -> None:
        """Use the platform's Redis. `seconds` limits one call, including the connection."""
        self._redis = redis
        self._seconds = seconds

    async def take_next(self, tenant_id: str, event_id: UUID, next_event_id: UUID) -> tuple[UUID, str] | None:
        """Take the next file from a tenant's list, or delete its flag. A repeat returns the same.

        Args:
            tenant_id: The tenant.
            event_id: The event whose run has ended.
            next_event_id: The id for the event of the next file.

        Returns:
            The id for the event of the next file, and the file's id; None: no file waits.

        Raises:
            RedisAwayError: Redis does not answer. A repeat returns what was taken, if anything was.
        """
        async with answer_within(self._seconds):
            taken = await self._redis.current().eval(
                _TAKE,
                3,
                LIST.format(tenant_id),
                FLAG.format(tenant_id),
                TAKEN.format(event_id),
                str(next_event_id),
                str(FLAG_SECONDS),
                str(TAKEN_SECONDS),
            )
        text = taken.decode(errors="replace") if isinstance(taken, bytes) else cast("str", taken)
        if not text:
            return None
        id_, _, file_id = text.partition(" ")
        return UUID(id_), file_id

    async def keep_flag(self, tenant_id: str) -> None:
        """Let the flag of a tenant live for another hour, if it is set: a run of its list is under way.

        Raises RedisAwayError.
        """
        async with answer_within(self._seconds):
            await self._redis.current().expire(FLAG.format(tenant_id), FLAG_SECONDS)
