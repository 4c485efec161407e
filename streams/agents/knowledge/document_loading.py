"""Loads a split document for the handlers. Models run between the transactions."""

from streams.delivery import Work
from streams.dify.embedding.port import Embedder, embed_with_retries
from streams.dify.errors import RefusedError
from streams.dify.indexing import load as load_module
from streams.dify.indexing.places import Places
from streams.dify.indexing.replace import remove_previous, switch_segments
from streams.dify.indexing.steps import Job
from streams.dify.indexing.target import LoadTarget, target_of
from streams.dify.keywords.extract import KeywordRequest, keywords_of
from streams.dify.platform import Platform


async def load(job: Job, work: Work, platform: Platform, places: Places) -> None:
    """Write vectors or keywords, as the dataset requires, group by group. A crash repeats at most one group.

    Then the new segments replace the previous ones, which are deleted.

    Args:
        job: the document.
        work: runs the steps.
        platform: the services.
        places: where the segments are in their file; empty if a previous attempt has split the document.
    """
    target = target_of(job, places)
    if job.embedder is None:
        await load_keywords(target, work, platform)
    else:
        await load_vectors(target, job.embedder, work, platform)
    if job.replaces or job.embedder is None:
        async with work.step() as session:
            await switch_segments(session, platform, job)
    while job.may_have_previous:
        async with work.step() as session:
            if not await remove_previous(session, platform, job):
                return


async def load_vectors(target: LoadTarget, embedder: Embedder, work: Work, platform: Platform) -> None:
    """Write the vectors of the target's rows, group by group.

    The usable vectors of a group are written before an error of the same group ends the attempt.
    """
    space = await embedder.space(work.compute)
    size = max(load_module.GROUP_SIZE, embedder.batch_size)
    async with work.step() as session:
        remaining = await load_module.missing_groups(session, target, size)
        group = await load_module.next_group(session, target, space, remaining)
    rejected = False
    while group is not None:
        unknown = group.unknown
        embedded = await embed_with_retries(embedder, list(unknown.values()), work.compute) if unknown else []
        answers = dict(zip(unknown, embedded, strict=True))
        blocking_error = load_module.blocking_error(answers.values())
        rejected = rejected or load_module.has_rejection(answers.values())
        async with work.step() as session:
            await load_module.write_group(session, platform, target, group, answers)
            group = await load_module.next_group(session, target, space, remaining)
        if blocking_error is not None:
            raise blocking_error
    if rejected:
        async with work.step() as session:
            raise RefusedError(await load_module.describe_missing(session, target))


async def load_keywords(target: LoadTarget, work: Work, platform: Platform) -> None:
    """Write the keywords of the target's segments that have none, group by group."""
    async with work.step() as session:
        remaining = await load_module.keyword_groups(session, target)
        group = await load_module.next_keyword_group(session, remaining)
    while group is not None:
        found = await work.compute(keywords_of, KeywordRequest(tuple(group.values()), target.keyword_number))
        async with work.step() as session:
            await load_module.write_keyword_group(session, platform, target, group, found)
            group = await load_module.next_keyword_group(session, remaining)
