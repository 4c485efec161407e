"""A fake SMTP server, which accepts mails, and rejects, garbles or delays what the test says."""

import ssl
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from socket import socket
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Lock, Thread

from tests.support.certificates import Certificates

Reply = str | None
"""A reply of the server; None: it says nothing until the test ends, an empty one: it closes the connection."""
Answer = Callable[[str], Reply]
"""Returns the reply to an envelope's receiver."""


@dataclass(frozen=True)
class Received:
    """A mail with its envelope."""

    sender: str
    receiver: str
    message: EmailMessage
    secured: bool

    def part(self, kind: str) -> str:
        found = self.message.get_body((kind,))
        assert isinstance(found, EmailMessage)
        content = found.get_content()
        assert isinstance(content, str)
        return content


@dataclass
class MailServer:
    """What the server says in each phase, and what it has received."""

    greeting: Reply = "220 mail.test ready"
    extensions: tuple[str, ...] = ("8BITMIME", "SMTPUTF8")
    sender: Reply = "250 sender accepted"
    to: Answer = lambda _: "250 receiver accepted"
    content: Reply = "250 queued"
    password: str | None = None
    """Of the user `streams`; None: no AUTH."""
    certificates: Certificates | None = None
    tls_at_once: bool = False
    received: list[Received] = field(default_factory=list)
    attempts: int = 0
    """Connections so far."""
    logins: list[str] = field(default_factory=list)
    ended: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    def secure(self, connection: socket) -> ssl.SSLSocket:
        assert self.certificates is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificates.server, self.certificates.server_key)
        return context.wrap_socket(connection, server_side=True)

    def login(self, argument: str) -> str:
        user, password = b64decode(argument).decode().split("\0")[1:]
        self.logins.append(user)
        accepted = (user, password) == ("streams", self.password)
        return "235 signed in" if accepted else "535 5.7.8 wrong user name or password"


class _Session(StreamRequestHandler):
    """One connection."""

    fake: MailServer

    def handle(self) -> None:
        with self.fake.lock:
            self.fake.attempts += 1
        self.secured, self.mail_from, self.rcpt_to = False, "", ""
        with suppress(OSError, ValueError):  # the client closes when it likes; a garbled login is its own failure
            if self.fake.tls_at_once:
                self._start_tls()
            if self._say(self.fake.greeting):
                self._serve()

    def _serve(self) -> None:
        while line := self.rfile.readline():
            command, _, argument = line.decode().strip().partition(" ")
            if not self._answer(command.upper(), argument):
                return

    def _answer(self, command: str, argument: str) -> bool:
        match command:
            case "STARTTLS":
                self._say("220 go on")
                self._start_tls()
                return True
            case "DATA":
                self._say("354 go on")
                return self._take()
            case "QUIT":
                self._say("221 bye")
                return False
        return self._say(self._reply(command, argument))

    def _reply(self, command: str, argument: str) -> Reply:
        match command:
            case "EHLO":
                return "\r\n".join([*(f"250-{one}" for one in ("mail.test", *self._offered())), "250 HELP"])
            case "AUTH":
                return self.fake.login(argument.partition(" ")[2])
            case "MAIL":
                self.mail_from = argument
                return self.fake.sender
            case "RCPT":
                self.rcpt_to = argument.partition("<")[2].partition(">")[0]
                return self.fake.to(self.rcpt_to)
        return "250 done"

    def _offered(self) -> list[str]:
        tls = ["STARTTLS"] if self.fake.certificates is not None and not self.secured else []
        auth = ["AUTH PLAIN"] if self.fake.password is not None else []
        return [*self.fake.extensions, *tls, *auth]

    def _take(self) -> bool:
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line[1:] if line.startswith(b"..") else line)
        if self.fake.content is not None and self.fake.content.startswith("250"):
            message = message_from_bytes(b"".join(lines), policy=policy.SMTP)
            assert isinstance(message, EmailMessage)
            with self.fake.lock:
                self.fake.received.append(Received(self.mail_from, self.rcpt_to, message, self.secured))
        return self._say(self.fake.content)

    def _say(self, reply: Reply) -> bool:
        """Send a reply. Returns False if the connection is to be closed."""
        if reply is None:
            self.fake.ended.wait(30)
        if not reply:
            return False
        self.wfile.write(f"{reply}\r\n".encode())
        return True

    def _start_tls(self) -> None:
        self.connection = self.fake.secure(self.connection)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
        self.secured = True

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.connection.close()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def mail_server() -> Iterator[tuple[MailServer, int]]:
    """Start a server. Yields it with its port."""
    fake = MailServer()
    handler = type("Session", (_Session,), {"fake": fake})
    server = _Server(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake, server.server_address[1]
    finally:
        fake.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
