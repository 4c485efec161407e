"""What the platform's side refuses for good, in words for the person who owns the document."""


class RefusedError(Exception):
    """No repeat can succeed: the input itself is wrong, or asks for what is not built yet."""


class ExtractionError(RefusedError):
    """The file has no text that can be read."""


class NotBuiltYetError(RefusedError):
    """A file type, form, rule or technique of the platform that the pipeline does not do yet."""


class UnavailableError(Exception):
    """A service that the platform's side asks does not answer, or answers with a failure of its own."""

    service = "service"
    """As handlers name it in their needs."""


class BusyError(Exception):
    """A service that the platform's side asks wants patience; a repeat after so many seconds may succeed."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message, after)
        self.after = after

    def __str__(self) -> str:
        return str(self.args[0])
