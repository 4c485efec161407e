"""The checks of the database. They only decide; `database_facts` reads."""

from collections.abc import Iterable, Mapping, Sequence

from streams.database.engines import MAX_SERVER, MIN_SERVER, POOLER_REMEDY, REVISION
from streams.operations.doctor.database_facts import ServerFacts, TableFacts
from streams.operations.doctor.finding import Finding, ok
from streams.operations.doctor.platform_tables import TableNeed

VECTOR = "vector"
"""The name of pgvector's extension."""
UTC = {"UTC", "Etc/UTC", "GMT", "Etc/GMT", "UCT", "Etc/UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"}
UPGRADE = "run `streams db upgrade`"


def check_server(facts: ServerFacts, pooler: str) -> list[Finding]:
    """Check what concerns the whole database. `pooler` is the setting STREAMS_DATABASE_POOLER."""
    return [
        _version(facts),
        _encoding(facts),
        _time_zone(facts),
        _writable(facts),
        _pooler(facts, pooler),
        _temporary(facts),
        _schema(facts),
    ]


def check_tables(needs: Sequence[TableNeed], found: Mapping[str, TableFacts]) -> list[Finding]:
    """Check that tables, columns and rights are there. Each table that lacks something is a finding."""
    findings: list[Finding] = []
    for kind, own in (("platform tables", False), ("ledger tables", True)):
        needed = [need for need in needs if need.is_ledger == own]
        lacking = [finding for need in needed for finding in _table(kind, need, found.get(need.name))]
        findings += lacking or ([ok(kind, f"all {len(needed)} with their columns and rights")] if needed else [])
    return findings


def check_pgvector(facts: ServerFacts) -> list[Finding]:
    """Check the database of the vectors."""
    subject = "pgvector"
    if VECTOR not in facts.extensions:
        if VECTOR in facts.available_extensions:
            remedy = "run `create extension vector` there as a superuser"
        else:
            remedy = "install pgvector on the server, or keep vectors elsewhere (STREAMS_VECTOR_STORE)"
        return [Finding(subject, "fail", "the database has no extension vector", remedy)]
    if not facts.may_create_tables:
        text = "the role may not create tables for new collections"
        return [Finding(subject, "fail", text, "grant create on the schema to the role")]
    return [ok(subject, "the extension is there, and tables can be created")]


def _version(facts: ServerFacts) -> Finding:
    subject, major = "PostgreSQL version", facts.version // 10_000
    if major < MIN_SERVER:
        remedy = f"use PostgreSQL {MIN_SERVER} to {MAX_SERVER}"
        return Finding(subject, "fail", f"{facts.version_text} is not supported", remedy, stops_worker=True)
    if major > MAX_SERVER:
        remedy = f"PostgreSQL {MIN_SERVER} to {MAX_SERVER} is tested"
        return Finding(subject, "warning", f"{facts.version_text} is newer than this version knows", remedy)
    return ok(subject, facts.version_text)


def _encoding(facts: ServerFacts) -> Finding:
    subject = "database encoding"
    if facts.encoding != "UTF8":
        text = f"{facts.encoding} cannot hold every text"
        return Finding(subject, "fail", text, "create the database with encoding UTF8", stops_worker=True)
    return ok(subject, facts.encoding)


def _time_zone(facts: ServerFacts) -> Finding:
    subject = "database time zone"
    if facts.time_zone not in UTC:
        text = f"{facts.time_zone}: defaults of the platform's columns are not in UTC"
        return Finding(subject, "warning", text, "`alter database … set timezone to 'UTC'`")
    return ok(subject, facts.time_zone)


def _writable(facts: ServerFacts) -> Finding:
    subject = "database writable"
    if facts.is_read_only:
        remedy = "connect to the primary: name all servers and add target_session_attrs=read-write to the URL"
        return Finding(subject, "fail", "the server is read-only, so work waits", remedy)
    return ok(subject, "yes")


def _pooler(facts: ServerFacts, setting: str) -> Finding:
    subject = "connection pooler"
    if facts.is_pooled and setting == "none":
        text = "a pooler is in front of the server, and STREAMS_DATABASE_POOLER does not say so"
        return Finding(subject, "fail", text, POOLER_REMEDY, stops_worker=True)
    if not facts.is_pooled and setting != "none":
        remedy = "leave out STREAMS_DATABASE_POOLER: statements are faster without it"
        return Finding(subject, "warning", "STREAMS_DATABASE_POOLER is set, but there is no pooler", remedy)
    return ok(subject, "a pooler, as set" if facts.is_pooled else "none")


def _temporary(facts: ServerFacts) -> Finding:
    subject = "temporary tables"
    if not facts.may_create_temporary:
        text = "the role may not create them, so a worker cannot see that a full disk has space again"
        return Finding(subject, "warning", text, "`grant temporary on database … to …`")
    return ok(subject, "allowed")


def _schema(facts: ServerFacts) -> Finding:
    subject = "schema streams"
    if facts.revision is None:
        return Finding(subject, "fail", "the database has no schema streams", UPGRADE, stops_worker=True)
    if facts.revision < REVISION:
        text = f"it is at revision {facts.revision}, this version needs {REVISION}"
        return Finding(subject, "fail", text, UPGRADE, stops_worker=True)
    return ok(subject, f"revision {facts.revision}")


def _table(kind: str, need: TableNeed, found: TableFacts | None) -> Iterable[Finding]:
    remedy = UPGRADE if need.is_ledger else "use the database of Dify 1.9.2, with its migrations"
    if found is None:
        yield Finding(kind, "fail", f"there is no table {need.name}", remedy, stops_worker=True)
        return
    if missing := sorted(need.columns - found.columns):
        yield Finding(kind, "fail", f"{need.name} has no column {', '.join(missing)}", remedy, stops_worker=True)
    if denied := sorted(need.rights - found.rights):
        text = f"the role may not {', '.join(denied).lower()} rows of {need.name}"
        yield Finding(kind, "fail", text, f"`grant {', '.join(denied).lower()} on {need.name} to …`")
