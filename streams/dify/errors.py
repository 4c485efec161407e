"""The errors of the platform's side. Their messages are written for the owner of the document."""


class RefusedError(Exception):
    """The input is wrong or not supported. No retry can succeed."""

    __module__ = "streams.dify.errors"


class ExtractionError(RefusedError):
    """The text of the file cannot be extracted."""

    __module__ = "streams.dify.errors"


class NotBuiltYetError(RefusedError):
    """The platform supports this file type, form, rule or technique; the pipeline does not support it yet."""

    __module__ = "streams.dify.errors"


class ForeignTenantError(RefusedError):
    """Something that was named belongs to another tenant."""

    __module__ = "streams.dify.errors"


class PipelineDocumentError(RefusedError):
    """The document belongs to a pipeline of the platform, which indexes it itself."""

    __module__ = "streams.dify.errors"


class UnavailableError(Exception):
    """A service is unavailable: it does not answer, or it answers with a server error."""

    __module__ = "streams.dify.errors"

    service = "service"
    """The name of the service in the `needs` of handlers."""


class BusyError(Exception):
    """A service asks for a pause. A retry after `after` seconds may succeed."""

    __module__ = "streams.dify.errors"

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message, after)
        self.after = after

    def __str__(self) -> str:
        return str(self.args[0])


class ServiceError(Exception):
    """The service is down, too slow or broken. A retry may succeed."""

    __module__ = "streams.dify.errors"


class PluginDaemonAwayError(ServiceError, UnavailableError):
    """The plugin daemon does not answer, or answers with a server error."""

    __module__ = "streams.dify.errors"

    service = "plugin-daemon"


class MarketplaceAwayError(ServiceError, UnavailableError):
    """The marketplace does not answer, or answers with a server error."""

    __module__ = "streams.dify.errors"

    service = "marketplace"


class PipelinesAwayError(ServiceError, UnavailableError):
    """The platform's API for pipelines does not answer, or answers with a server error."""

    __module__ = "streams.dify.errors"

    service = "pipelines"


class UploadFileMissingError(Exception):
    """The row of an upload file does not exist (yet)."""

    __module__ = "streams.dify.errors"


class RowMissingError(Exception):
    """A row that another row or an event names does not exist (yet)."""

    __module__ = "streams.dify.errors"


class CreditsMissingError(ValueError):
    """A message is charged in credits, but it does not contain the number of credits."""

    __module__ = "streams.dify.errors"


class RedisAwayError(UnavailableError):
    """The platform's Redis does not answer."""

    __module__ = "streams.dify.errors"

    service = "redis"


class Stopped(Exception):  # noqa: N818 - reads well: `raise Stopped("the document is gone")`
    """There is nothing (more) to do. This is not a failure; the message says why."""

    __module__ = "streams.dify.errors"


class ReplyDisabled(Stopped):
    """The app does not answer from its annotations (any more)."""

    __module__ = "streams.dify.errors"


class IndexChangedError(Exception):
    """The dataset got another embedding model or technique during the work. A retry uses the new one."""

    __module__ = "streams.dify.errors"


class VectorStoreError(Exception):
    """The vector store failed. A retry may succeed."""

    __module__ = "streams.dify.errors"


class LeftBehindError(Exception):
    """A clean-up has finished, but something is left. The message says what, and how much."""

    __module__ = "streams.dify.errors"


class EmbeddingError(Exception):
    """The model returned no answer, or no vectors. A retry may succeed."""

    __module__ = "streams.dify.errors"


class EmbeddingAwayError(EmbeddingError, UnavailableError):
    """The model's endpoint does not answer, or answers with a server error."""

    __module__ = "streams.dify.errors"

    service = "embeddings"


class UnusableVectorError(EmbeddingError):
    """The model answered, but its answer for one text is not a vector. Only this text has no vector."""

    __module__ = "streams.dify.errors"


class RefusedTextError(UnusableVectorError):
    """The model rejects this text in every request. No retry can succeed."""

    __module__ = "streams.dify.errors"


class ContentRefusedError(RefusedError):
    """The endpoint rejected the content of a request, not the client that sent it."""

    __module__ = "streams.dify.errors"


class NoAnswerError(Exception):
    """The chat endpoint returned no answer, or no usable answer. The next answer may be usable."""

    __module__ = "streams.dify.errors"


class ChatAwayError(NoAnswerError, UnavailableError):
    """The chat endpoint does not answer, or answers with a server error."""

    __module__ = "streams.dify.errors"

    service = "chat"


class MailAwayError(UnavailableError):
    """The mail service does not answer, answers with a server error, or with something that is not its protocol."""

    __module__ = "streams.dify.errors"

    service = "mail"


class MailServiceError(Exception):
    """The mail service rejects this mail for now, or the settings of the service. A retry may succeed."""

    __module__ = "streams.dify.errors"


class BillingAwayError(UnavailableError):
    """The billing service does not answer, or answers with a server error."""

    __module__ = "streams.dify.errors"

    service = "billing"


class TidbAwayError(UnavailableError):
    """TiDB Cloud does not answer, or answers with a server error."""

    __module__ = "streams.dify.errors"

    service = "tidb"
