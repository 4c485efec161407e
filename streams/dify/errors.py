"""Every error that a handler may report of the platform's side, in words for the person who owns the document."""


class RefusedError(Exception):
    """No repeat can succeed: the input itself is wrong, or asks for what is not built yet."""

    __module__ = "streams.dify.errors"


class ExtractionError(RefusedError):
    """The file has no text that can be read."""

    __module__ = "streams.dify.errors"


class NotBuiltYetError(RefusedError):
    """A file type, form, rule or technique of the platform that the pipeline does not do yet."""

    __module__ = "streams.dify.errors"


class UnavailableError(Exception):
    """A service that the platform's side asks does not answer, or answers with a failure of its own."""

    __module__ = "streams.dify.errors"

    service = "service"
    """As handlers name it in their needs."""


class BusyError(Exception):
    """A service that the platform's side asks wants patience; a repeat after so many seconds may succeed."""

    __module__ = "streams.dify.errors"

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message, after)
        self.after = after

    def __str__(self) -> str:
        return str(self.args[0])


class ServiceError(Exception):
    """The service is down, too slow, or broken: a repeat may succeed."""

    __module__ = "streams.dify.errors"


class UploadFileMissingError(Exception):
    """The row of an upload file is not there (yet)."""

    __module__ = "streams.dify.errors"


class CreditsMissingError(ValueError):
    """A message is charged by credits but does not say how many."""

    __module__ = "streams.dify.errors"


class Stopped(Exception):  # noqa: N818 - reads as what it is: `raise Stopped("the document is gone")`
    """There is nothing (more) to do, and that is no failure; the message says why."""

    __module__ = "streams.dify.errors"


class VectorStoreError(Exception):
    """The vector store did not do what it was asked; a repeat may succeed."""

    __module__ = "streams.dify.errors"


class LeftBehindError(Exception):
    """A clean-up is through, and something is still there: the message says what, and how much."""

    __module__ = "streams.dify.errors"


class EmbeddingError(Exception):
    """The model did not answer, or not with vectors; a later repeat may succeed."""

    __module__ = "streams.dify.errors"


class EmbeddingAwayError(EmbeddingError, UnavailableError):
    """The model's endpoint does not answer, or answers with a failure of its own."""

    __module__ = "streams.dify.errors"

    service = "embeddings"


class UnusableVectorError(EmbeddingError):
    """The model answered, but what it gave for one text is no vector: that text alone has none."""

    __module__ = "streams.dify.errors"


class RefusedTextError(UnusableVectorError):
    """The model does not take this text, whatever is asked with it: no repeat can succeed."""

    __module__ = "streams.dify.errors"


class ContentRefusedError(RefusedError):
    """A status that may be about what was asked, and not about who asks."""

    __module__ = "streams.dify.errors"


class NoAnswerError(Exception):
    """The chat endpoint gives no answer, or none that can be used; its next one may be."""

    __module__ = "streams.dify.errors"


class ChatAwayError(NoAnswerError, UnavailableError):
    """The endpoint does not answer, or answers with a failure of its own."""

    __module__ = "streams.dify.errors"

    service = "chat"
