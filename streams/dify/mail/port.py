"""What a mail service is."""

from typing import Protocol

from streams.dify.mail.message import Mail


class MailService(Protocol):
    """Sends mails."""

    @property
    def name(self) -> str:
        """The name of the service in results and errors."""

    async def send(self, mail: Mail) -> None:
        """Return when the service has accepted the mail.

        Raises:
            RefusedError: The service rejects this mail or its receiver for good.
            MailServiceError: The service rejects the mail for now, or its own settings.
            BusyError: The service asks for a pause.
            MailAwayError: The service is unavailable.
        """
