"""Publishes events for the platform's Blinker signals. The platform's senders stay unchanged."""

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from streams.codec import Codec, default_codec
from streams.publishing.bridges.errors import BridgeError
from streams.publishing.bridges.platform_signals import ModelCredits, PlatformSignal, credits_by_model, platform_signals
from streams.publishing.bridges.sender_transaction import CurrentSession, SenderTransactions

if TYPE_CHECKING:
    import blinker

AFTER_COMMIT_DELAY = timedelta(seconds=1)
"""The delay of an event in its own transaction. In most cases its sender has committed by then."""
AFTER_RECEIVERS_DELAY = timedelta(minutes=10)
"""The delay while the platform's own receivers do the work of the handlers. No request of the platform takes that long.

These receivers look for nothing before they insert. A handler that works before them would double a site or a join.
"""
REPLACED_RECEIVERS = frozenset(
    {
        "create_document_index",
        "create_installed_app_when_app_created",
        "create_site_record_when_app_created",
        "delete_tool_parameters_cache_when_sync_draft_workflow",
        "update_app_dataset_join_when_app_model_config_updated",
        "update_app_dataset_join_when_app_published_workflow_updated",
    }
)
"""The platform's modules with the receivers whose work the handlers of events in own transactions do."""
EXTENSION = "streams_signals"


@dataclass(frozen=True, slots=True)
class Receiver:
    """Receives one signal and publishes its event."""

    signal: PlatformSignal
    transactions: SenderTransactions

    def __call__(self, sender: object, **arguments: object) -> None:
        """Publish the event of a signal. An error is raised in the sender, so that nothing commits without its event.

        Raises:
            BridgeError: The arguments do not give an event.
            Exception: Any error of `Outbox.publish` or of the database.
        """
        session = None
        if self.signal.transaction == "sender's":
            row = sender if self.signal.session_argument is None else arguments.get(self.signal.session_argument)
            session = self.transactions.session_of(row)
        try:
            event = self.signal.to_event(sender, arguments)
        except BridgeError as error:
            message = f"signal {self.signal.name}: {error}"
            raise BridgeError(message) from error
        except ValidationError as error:
            first = error.errors()[0]
            message = f"signal {self.signal.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise BridgeError(message) from error
        if event is None:
            return
        if session is None:
            beside = has_replaced_receiver(_signal(self.signal.name), sender)
            delay = AFTER_RECEIVERS_DELAY if beside else AFTER_COMMIT_DELAY
            self.transactions.publish_separately(event, delay=delay)
        else:
            self.transactions.publish_within(session, event)


class SignalBridge:
    """The connected signals, until `disconnect`."""

    def __init__(self, connected: "list[tuple[blinker.Signal, Receiver]]") -> None:
        self._connected = connected

    def disconnect(self) -> None:
        """Disconnect the signals. Repeating this does nothing."""
        while self._connected:
            signal, receiver = self._connected.pop()
            signal.disconnect(receiver)


def connect_signals(
    session: CurrentSession,
    *,
    codec: Codec | None = None,
    signals: Collection[str] | None = None,
    model_credits: ModelCredits | None = None,
) -> SignalBridge:
    """Publish an event for each of the platform's signals from now on, in this process.

    Other receivers of a signal stay connected. Disconnect those whose work an event handler now does.

    Args:
        session: The platform's scoped session (`db.session`), or another function that returns the current session.
        codec: The codec for the events. None: the one of the environment's settings.
        signals: Names of signals, such as ``app-was-created``. None: all ten.
        model_credits: Returns a model's cost if the quota counts credits. None: 1 for each model.

    Raises:
        BridgeError: Blinker is not installed, a name is unknown, or a signal is already connected.
        SchemaMissingError: An event has no registered schema.
    """
    known = {signal.name: signal for signal in platform_signals(model_credits or (lambda _: 1))}
    wanted = known if signals is None else dict.fromkeys(signals)
    if unknown := wanted.keys() - known.keys():
        message = f"no signal {', '.join(sorted(unknown))}; known signals are: {', '.join(known)}"
        raise BridgeError(message)
    codec = codec or default_codec()
    transactions = SenderTransactions(session, codec)
    found = [(_signal(name), Receiver(known[name], transactions)) for name in wanted]
    for signal, receiver in found:
        codec.check(receiver.signal.event)
        if _connected_receivers(signal):
            message = f"signal {receiver.signal.name} is already connected: disconnect the other bridge first"
            raise BridgeError(message)
    for signal, receiver in found:
        signal.connect(receiver, weak=False)
    return SignalBridge(found)


class FlaskApp(Protocol):
    """The part of a Flask app that `init_app` needs."""

    @property
    def config(self) -> Mapping[str, object]:
        """The app's configuration."""

    @property
    def extensions(self) -> MutableMapping[str, object]:
        """The app's initialised extensions, by name."""


def init_app(app: FlaskApp) -> None:
    """Connect all signals for a Flask app. Add this module to the platform's list of extensions, after the database.

    The costs of models come from the app's `HOSTED_MODEL_CREDIT_CONFIG`. The pipeline's settings come from the
    environment. Signals belong to the process, not to an app: a second app replaces the first one's bridge.

    Raises:
        BridgeError: The app has no database, or any reason of `connect_signals`.
        SchemaMissingError: An event has no registered schema.
    """
    session = getattr(app.extensions.get("sqlalchemy"), "session", None)
    if session is None:
        message = "this app has no database: put the bridge after it in the list of extensions"
        raise BridgeError(message)
    model_credits = credits_by_model(str(app.config.get("HOSTED_MODEL_CREDIT_CONFIG") or ""))
    for platform_signal in platform_signals(model_credits):
        signal = _signal(platform_signal.name)
        for receiver in _connected_receivers(signal):
            signal.disconnect(receiver)
    app.extensions[EXTENSION] = connect_signals(session, model_credits=model_credits)


def _signal(name: str) -> "blinker.Signal":
    """Return the process's signal of this name. The platform's modules use the same object."""
    try:
        import blinker  # noqa: PLC0415 - only this bridge needs it; other publishing works without it
    except ImportError as error:
        message = "blinker is not installed: install the extra `bridges`"
        raise BridgeError(message) from error
    return blinker.signal(name)


def has_replaced_receiver(signal: "blinker.Signal", sender: object) -> bool:
    """Return True if a receiver of the platform is connected whose work a handler does."""
    modules = (getattr(receiver, "__module__", None) or "" for receiver in signal.receivers_for(sender))
    return any(module.rpartition(".")[2] in REPLACED_RECEIVERS for module in modules)


def _connected_receivers(signal: "blinker.Signal") -> list[Receiver]:
    """Return the bridge's receivers that are connected to a signal."""
    return [receiver for receiver in signal.receivers.values() if isinstance(receiver, Receiver)]
