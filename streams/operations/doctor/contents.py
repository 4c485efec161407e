"""The checks of what the platform's rows need: embedding models, vector stores, sources of documents.

Rows that need something else belong to the platform's own workers, as long as the settings do not change.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from streams.database import sync_engine
from streams.dify.platform import Platform, build_platform
from streams.observability.error_text import message
from streams.operations.doctor.finding import Finding, ok
from streams.settings import Settings

LIMIT = "20s"
"""How long one statement may take: it reads a table once."""
SHOWN = 5
"""Models, stores or sources in one line."""
SOURCES = ("upload_file", "notion_import", "website_crawl")
MODELS = text(
    """
    select embedding_model_provider as provider, embedding_model as model, count(*) as datasets from datasets
    where indexing_technique = 'high_quality' group by 1, 2 order by 3 desc
    """
)
STORES = text(
    r"""
    select substring(index_struct from '"type"\s*:\s*"([^"]+)"') as store, count(*) as datasets from datasets
    where indexing_technique = 'high_quality' and index_struct is not null group by 1 order by 2 desc
    """
)
DOCUMENTS = text(
    r"""
    select data_source_type as source,
        case when data_source_type = 'website_crawl'
            then substring(data_source_info from '"provider"\s*:\s*"([^"]+)"') end as reader,
        data_source_type = 'notion_import' and exists (
            select 1 from data_source_oauth_bindings b where b.tenant_id = d.tenant_id and b.provider = 'notion'
        ) or exists (
            select 1 from datasource_providers p where p.tenant_id = d.tenant_id and p.provider = case
                when data_source_type = 'notion_import' then 'notion_datasource'
                when data_source_type = 'website_crawl'
                    then substring(data_source_info from '"provider"\s*:\s*"([^"]+)"') end
        ) as has_token,
        count(*) as documents
    from documents d group by 1, 2, 3 order by 4 desc
    """
)
STAY = "leave these datasets on the platform's own workers (docs/how-to/switch-from-celery.md)"


def examine_contents(settings: Settings) -> list[Finding]:
    """Compare the platform's rows with the settings. A database that does not answer is another check's finding."""
    engine = sync_engine(settings)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"set local statement_timeout = '{LIMIT}'"))
            return [
                _check_models(connection, build_platform(settings)),
                _check_stores(connection, settings),
                _check_sources(connection, settings),
            ]
    except OperationalError:
        return []
    except SQLAlchemyError as error:
        remedy = "grant the role the right to read the platform's tables"
        return [Finding("contents", "warning", message(error), remedy)]
    finally:
        engine.dispose()


def _check_models(connection: Connection, platform: Platform) -> Finding:
    if platform.tenant_embedders is not None:
        return ok("embedding models", "the plugin daemon has those that the settings do not have")
    default = platform.default_embedder
    wrong = []
    for provider, model, datasets in connection.execute(MODELS):
        is_default = not provider and not model
        if not is_default and not platform.is_configured(provider, model):
            wrong.append(f"{model} of {provider} ({datasets} datasets)")
    if wrong:
        known = f"STREAMS_EMBEDDING_… has {default.model} of {default.provider}"
        return Finding("embedding models", "warning", f"{known}; in use: {_shown(wrong)}", STAY)
    return ok("embedding models", "every dataset uses a configured one")


def _check_stores(connection: Connection, settings: Settings) -> Finding:
    found = connection.execute(STORES).all()
    wrong = [f"{store or 'none'} ({datasets} datasets)" for store, datasets in found if store != settings.vector_store]
    if wrong:
        return Finding("vector stores", "warning", f"not {settings.vector_store}: {_shown(wrong)}", STAY)
    return ok("vector stores", f"every dataset uses {settings.vector_store}")


def _check_sources(connection: Connection, settings: Settings) -> Finding:
    has_key = {
        "notion_import": settings.notion_token is not None,
        "firecrawl": settings.firecrawl_key is not None,
        "watercrawl": settings.watercrawl_key is not None,
    }
    wrong = []
    for source, reader, has_token, documents in connection.execute(DOCUMENTS):
        name = reader or source
        if source not in SOURCES or not (has_token or has_key.get(name, True)):
            wrong.append(f"{name} ({documents} documents)")
    if wrong:
        remedy = "set the key of the source, or leave these documents on the platform's own workers"
        return Finding("sources", "warning", f"no reader or no key: {_shown(wrong)}", remedy)
    return ok("sources", "every document comes from a source that is read here")


def _shown(found: Sequence[str]) -> str:
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
