"""How a split document is loaded, for the handlers of documents: models run between the transactions."""

from streams.delivery import Work
from streams.dify.embedding.port import Embedder, embed_stubbornly
from streams.dify.errors import RefusedError
from streams.dify.indexing import load as load_module
from streams.dify.indexing.replace import remove_former, switch
from streams.dify.indexing.steps import Job
from streams.dify.keywords.extract import Asked, keywords_of
from streams.dify.platform import Platform


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
    size = max(load_module.GROUP, embedder.texts_at_once)
    async with work.step() as session:
        ahead = await load_module.missing_groups(session, job, size)
        group = await load_module.next_group(session, job, space, ahead)
    refused = False
    while group is not None:
        unknown = group.unknown
        embedded = await embed_stubbornly(embedder, list(unknown.values()), work.compute) if unknown else []
        answers = dict(zip(unknown, embedded, strict=True))
        hindrance = load_module.hindrance(answers.values())
        refused = refused or load_module.refuses(answers.values())
        async with work.step() as session:
            await load_module.write_group(session, platform, job, group, answers)
            group = await load_module.next_group(session, job, space, ahead)
        if hindrance is not None:
            raise hindrance
    if refused:
        async with work.step() as session:
            raise RefusedError(await load_module.what_is_missing(session, job))


async def _load_keywords(job: Job, work: Work) -> None:
    async with work.step() as session:
        ahead = await load_module.unread_groups(session, job)
        unread = await load_module.next_unread(session, ahead)
    while unread is not None:
        found = await work.compute(keywords_of, Asked(tuple(unread.values()), job.keyword_number))
        async with work.step() as session:
            await load_module.write_read(session, job, unread, found)
            unread = await load_module.next_unread(session, ahead)
