"""The state of a folder, stored from one `up` to the next, and the passwords of its servers."""

import json
import os
import secrets
from base64 import urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

_PASSWORD_BYTES = 16


class StateError(Exception):
    """The folder's state cannot be read. The message is one line that says what to do."""


def _new_cluster_id() -> str:
    return urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")


@dataclass(slots=True)
class State:
    """The number of brokers, the cluster id, and all allocated ports."""

    brokers: int
    cluster_id: str = field(default_factory=_new_cluster_id)
    """Kafka's cluster id: 16 bytes in URL-safe base64."""
    ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "State | None":
        """Return the folder's state; None if no stack was ever started. Raises StateError."""
        try:
            read = json.loads(path.read_text())
            return cls(int(read["brokers"]), str(read["cluster_id"]), dict(read["ports"]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{path} is damaged: remove {path.parent} to start again") from error

    def save(self, path: Path) -> None:
        """Write the state atomically."""
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"brokers": self.brokers, "cluster_id": self.cluster_id, "ports": self.ports}))
        fresh.replace(path)


def stored_password(file: Path) -> str:
    """Return the password in the file. A missing file is created with a new one: 32 hexadecimal digits.

    Raises OSError if the file cannot be read or created.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
    # Two commands may come here together: the link of the first one decides.
    with suppress(FileExistsError):
        if not file.exists():
            fresh.touch(mode=0o600, exist_ok=True)
            fresh.write_text(secrets.token_hex(_PASSWORD_BYTES))
            os.link(fresh, file)
    fresh.unlink(missing_ok=True)
    return file.read_text().strip()
