"""How a split document is loaded, for the handlers of documents: models run between the transactions."""

from streams.delivery import Work
from streams.dify import loading
from streams.dify.embedding import Embedder, embed_stubbornly
from streams.dify.errors import RefusedError
from streams.dify.indexing import Job
from streams.dify.keywords import Asked, keywords_of
from streams.dify.platform import Platform
from streams.dify.replacing import remove_former, switch


async def load(job: Job, work: Work, platform: Platform) -> None:
    """By vectors or by keywords, as the dataset wants, group by group: a crash loses one group at most.

    Then the new segments are found in place of those of an indexing before this one, which go.
    """
    if job.embedder is None:
        await _load_keywords(job, work)
    else:
        await _load_vectors(job, job.embedder, work, platform)
    if job.replaces or job.embedder is None:
        async with work.step() as session:
            await switch(session, platform, job)
    while job.may_leave_former:
        async with work.step() as session:
            if not await remove_former(session, platform, job):
                return


async def _load_vectors(job: Job, embedder: Embedder, work: Work, platform: Platform) -> None:
    """What the model gave is written before what it failed at ends the attempt."""
    space = await embedder.space(work.compute)
    size = max(loading.GROUP, embedder.texts_at_once)
    async with work.step() as session:
        ahead = await loading.missing_groups(session, job, size)
        group = await loading.next_group(session, job, space, ahead)
    refused = False
    while group is not None:
        unknown = group.unknown
        embedded = await embed_stubbornly(embedder, list(unknown.values()), work.compute) if unknown else []
        answers = dict(zip(unknown, embedded, strict=True))
        hindrance = loading.hindrance(answers.values())
        refused = refused or loading.refuses(answers.values())
        async with work.step() as session:
            await loading.write_group(session, platform, job, group, answers)
            group = await loading.next_group(session, job, space, ahead)
        if hindrance is not None:
            raise hindrance
    if refused:
        async with work.step() as session:
            raise RefusedError(await loading.what_is_missing(session, job))


async def _load_keywords(job: Job, work: Work) -> None:
    async with work.step() as session:
        ahead = await loading.unread_groups(session, job)
        unread = await loading.next_unread(session, ahead)
    while unread is not None:
        found = await work.compute(keywords_of, Asked(tuple(unread.values()), job.keyword_number))
        async with work.step() as session:
            await loading.write_read(session, job, unread, found)
            unread = await loading.next_unread(session, ahead)
