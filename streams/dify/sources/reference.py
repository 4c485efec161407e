"""The source of a document, as described by documents.data_source_info."""

import json
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import ForeignTenantError, NotBuiltYetError, RefusedError, UploadFileMissingError
from streams.dify.http import is_path_name
from streams.dify.ids import checked_id
from streams.dify.models import DataSourceOauthBinding, Document, UploadFile
from streams.dify.models.json_text import read_object
from streams.dify.sources.credentials import Access, StoredCredential, stored_credential
from streams.dify.tenancy import in_own_folder, one_tenant


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the storage."""

    key: str
    extension: str

    @property
    def kind(self) -> str:
        """The extension in lower case, without a dot."""
        return self.extension.lower().removeprefix(".")


@dataclass(frozen=True, slots=True)
class NotionPage:
    """A page or a database of Notion."""

    page_id: str
    kind: Literal["page", "database"]
    token: str | None = field(default=None, repr=False)
    """The token of the workspace's integration; None: use the token of the deployment, if the tenant may."""
    tenant_id: str = ""
    credential: StoredCredential | None = None
    """The credential that the document names. It comes before the token."""
    missing_credential: str | None = None
    """The id of a credential that the document names, and that the tenant does not have."""


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page that a crawler found."""

    url: str
    provider: str
    job_id: str | None
    """The crawl that found it; None: the page is read as it is now."""
    only_main_content: bool = True
    """Whether the page is read without its navigation, header and footer."""
    credential: StoredCredential | None = None
    """The tenant's own credential for the provider; None: use the key of the deployment."""
    access: Access | None = None
    """The decrypted credential."""


Source = StoredFile | NotionPage | WebPage


def upload_file_id(data_source_type: str, data_source_info: str | None) -> str:
    """Return the id of the upload file of a document. Raises RefusedError."""
    if data_source_type != "upload_file":
        message = f"a document from {data_source_type} has no upload file"
        raise RefusedError(message)
    file_id = _text_in(_info(data_source_info), "upload_file_id", "upload file")
    return checked_id("upload_file_id", file_id)


async def source_of(session: AsyncSession, document: Document) -> Source:
    """Return the source of a document.

    Raises RefusedError (ForeignTenantError: the file is another tenant's), and UploadFileMissingError: try again.
    """
    if document.data_source_type == "notion_import":
        return await _notion_page(session, document.tenant_id, _info(document.data_source_info))
    if document.data_source_type == "website_crawl":
        return await _web_page(session, document.tenant_id, _info(document.data_source_info))
    if document.data_source_type != "upload_file":
        message = f"documents from {document.data_source_type} are not supported yet"
        raise NotBuiltYetError(message)
    file_id = upload_file_id(document.data_source_type, document.data_source_info)
    return await stored_file(session, file_id, "the document", document.tenant_id)


async def stored_file(session: AsyncSession, file_id: str, owner: str, tenant_id: str) -> StoredFile:
    """Return an upload file of a tenant.

    Args:
        session: reads the platform's tables.
        file_id: the upload file.
        owner: what names the file, for error messages.
        tenant_id: the owner's tenant.

    Raises:
        ForeignTenantError: the file is another tenant's.
        UploadFileMissingError: it has no row (yet): try again.
    """
    file = await session.get(UploadFile, file_id)
    if file is None:
        message = f"upload file {file_id} has no row"
        raise UploadFileMissingError(message)
    one_tenant((owner, tenant_id), (f"upload file {file_id}", file.tenant_id))
    if not in_own_folder(file.key, tenant_id):
        message = f"upload file {file_id} is in the folder of another tenant"
        raise ForeignTenantError(message)
    return StoredFile(file.key, file.extension)


def last_edited_time(data_source_info: str | None) -> str | None:
    """Return the source's edit time at the last indexing, in the source's format; None: unknown."""
    edited = _info(data_source_info).get("last_edited_time")
    return edited if isinstance(edited, str) else None


def with_last_edited_time(data_source_info: str | None, edited: str) -> str:
    """Return data_source_info with the edit time of the source."""
    return json.dumps({**_info(data_source_info), "last_edited_time": edited})


async def _notion_page(session: AsyncSession, tenant_id: str, info: dict[str, object]) -> NotionPage:
    page_id = checked_id("notion_page_id", _text_in(info, "notion_page_id", "Notion page"))
    named = _credential_id(info)
    credential = await stored_credential(session, tenant_id, "notion", named) if named else None
    return NotionPage(
        page_id,
        "database" if info.get("type") == "database" else "page",
        token=await _workspace_token(session, tenant_id, info),
        tenant_id=tenant_id,
        credential=credential,
        missing_credential=named if credential is None else None,
    )


def _credential_id(info: dict[str, object]) -> str | None:
    named = info.get("credential_id")
    return checked_id("credential_id", named) if isinstance(named, str) and named else None


async def _workspace_token(session: AsyncSession, tenant_id: str, info: dict[str, object]) -> str | None:
    """Return the tenant's newest enabled token for the page's workspace."""
    workspace = info.get("notion_workspace_id")
    if not isinstance(workspace, str):
        return None
    return await session.scalar(
        select(DataSourceOauthBinding.access_token)
        .where(
            DataSourceOauthBinding.tenant_id == tenant_id,
            DataSourceOauthBinding.provider == "notion",
            DataSourceOauthBinding.source_info["workspace_id"].astext == workspace,
            DataSourceOauthBinding.disabled.is_not(True),
        )
        .order_by(DataSourceOauthBinding.updated_at.desc())
        .limit(1)
    )


async def _web_page(session: AsyncSession, tenant_id: str, info: dict[str, object]) -> WebPage:
    """Return a page. The platform's synchronisation writes the mode `scrape` beside the id of the old crawl."""
    url = _text_in(info, "url", "web page")
    if not url.startswith(("http://", "https://")):
        message = f"{url[:200]!r} is not the address of a web page"
        raise RefusedError(message)
    job_id = info.get("job_id")
    provider = _text_in(info, "provider", "provider of the crawl")
    if isinstance(job_id, str) and job_id and not is_path_name(job_id):
        message = f"the job id {job_id[:100]!r} is not one"
        raise RefusedError(message)
    crawled = isinstance(job_id, str) and job_id and info.get("mode") != "scrape"
    named = _credential_id(info)
    credential = await stored_credential(session, tenant_id, provider, named) if named else None
    return WebPage(
        url,
        provider,
        str(job_id) if crawled else None,
        only_main_content=info.get("only_main_content") is not False,
        credential=credential or await stored_credential(session, tenant_id, provider, None),
    )


def _info(data_source_info: str | None) -> dict[str, object]:
    return read_object(data_source_info) or {}


def _text_in(info: dict[str, object], name: str, what: str) -> str:
    value = info.get(name)
    if not isinstance(value, str) or not value:
        message = f"data_source_info names no {what}: {json.dumps(info)[:200]}"
        raise RefusedError(message)
    return value
