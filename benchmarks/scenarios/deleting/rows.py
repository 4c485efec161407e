"""Fills the platform's tables with old messages and old cached embeddings, by SQL only."""

from sqlalchemy import text

from benchmarks.environment import Sandbox

_MESSAGES = (
    """
    create temporary table numbered on commit drop as
    select
        n,
        ('00000000-0000-4000-8000-' || lpad(to_hex(n % 200), 12, '0'))::uuid as app_id,
        ('00000000-0000-4001-8000-' || lpad(to_hex(n % 20), 12, '0'))::uuid as tenant_id,
        uuid_generate_v4() as message_id,
        uuid_generate_v4() as conversation_id,
        now() at time zone 'UTC' - interval '60 days' + n * interval '0.5 seconds' as created_at
    from generate_series(1, :count) as n
    """,
    """
    insert into apps (id, tenant_id, name, mode, enable_site, enable_api)
    select app_id, min(tenant_id::text)::uuid, 'app', 'chat', true, true from numbered group by app_id
    """,
    """
    insert into messages (id, app_id, conversation_id, inputs, query, message, message_unit_price, answer,
        answer_unit_price, currency, from_source, created_at, updated_at)
    select message_id, app_id, conversation_id, '{}', 'What is in room ' || n || '?', '[]', 0,
        repeat('A sentence of an answer. ', 8), 0, 'USD', 'api', created_at, created_at
    from numbered order by n
    """,
    """
    insert into message_feedbacks (app_id, conversation_id, message_id, rating, from_source)
    select app_id, conversation_id, message_id, 'like', 'user' from numbered where n % 10 = 0
    """,
    """
    insert into message_agent_thoughts (message_id, position, created_by_role, created_by, thought)
    select message_id, 1, 'account', tenant_id, repeat('A thought. ', 20) from numbered where n % 5 = 0
    """,
    """
    insert into dataset_retriever_resources (message_id, position, dataset_id, dataset_name, document_name, content,
        retriever_from, created_by)
    select message_id, 1, app_id, 'handbook', 'page', repeat('A sentence. ', 20), 'api', tenant_id
    from numbered where n % 5 = 1
    """,
)
_EMBEDDINGS = (
    """
    insert into embeddings (model_name, hash, embedding, provider_name, created_at)
    select 'model', md5(n::text) || md5((-n)::text), convert_to(repeat(md5(n::text), 8), 'utf8'), 'provider',
        now() at time zone 'UTC' - interval '60 days' + n * interval '0.5 seconds'
    from generate_series(1, :count) as n
    """,
)
_RUNS = (
    """
    create temporary table runs on commit drop as
    select
        n,
        ('00000000-0000-4000-8000-' || lpad(to_hex(n % 200), 12, '0'))::uuid as app_id,
        ('00000000-0000-4001-8000-' || lpad(to_hex(n % 20), 12, '0'))::uuid as tenant_id,
        uuid_generate_v4() as run_id,
        uuid_generate_v4() as message_id,
        uuid_generate_v4() as conversation_id,
        now() at time zone 'UTC' - interval '60 days' + n * interval '0.5 seconds' as created_at
    from generate_series(1, :count) as n
    """,
    """
    insert into workflow_runs (id, tenant_id, app_id, workflow_id, type, triggered_from, version, graph, status,
        created_by_role, created_by, created_at)
    select run_id, tenant_id, app_id, app_id, 'chat', 'app-run', '1', repeat('A node of a graph. ', 40), 'succeeded',
        'account', tenant_id, created_at
    from runs order by n
    """,
    """
    insert into workflow_node_executions (tenant_id, app_id, workflow_id, triggered_from, workflow_run_id, "index",
        node_id, node_type, title, outputs, status, created_by_role, created_by, created_at)
    select tenant_id, app_id, app_id, 'workflow-run', run_id, node, 'node-' || node, 'llm', 'Ask the model',
        repeat('A sentence of an answer. ', 8), 'succeeded', 'account', tenant_id, created_at
    from runs, generate_series(1, 3) as node order by n
    """,
    """
    insert into conversations (id, app_id, mode, name, inputs, status, from_source, created_at, updated_at)
    select conversation_id, app_id, 'advanced-chat', 'talk', '{}', 'normal', 'api', created_at, created_at from runs
    """,
    """
    insert into messages (id, app_id, conversation_id, workflow_run_id, inputs, query, message, message_unit_price,
        answer, answer_unit_price, currency, from_source, created_at, updated_at)
    select message_id, app_id, conversation_id, run_id, '{}', 'What is in room ' || n || '?', '[]', 0,
        repeat('A sentence of an answer. ', 8), 0, 'USD', 'api', created_at, created_at
    from runs order by n
    """,
)


def add_runs(sandbox: Sandbox, count: int) -> None:
    """Add workflow runs, each with three executions, a message and its conversation."""
    _execute(sandbox, _RUNS, count)


def add_messages(sandbox: Sandbox, count: int) -> None:
    """Add messages of 200 apps of 20 tenants, some of them with parts."""
    _execute(sandbox, _MESSAGES, count)


def add_embeddings(sandbox: Sandbox, count: int) -> None:
    """Add cached embeddings."""
    _execute(sandbox, _EMBEDDINGS, count)


def _execute(sandbox: Sandbox, statements: tuple[str, ...], count: int) -> None:
    with sandbox.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), {"count": count} if ":count" in statement else {})
    # The planner knows the tables, as on a database that has run for a while.
    with sandbox.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("vacuum analyze"))
