"""From the platform's Blinker signals to events: its senders stay as they are."""

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from streams.codec import Codec, default_codec
from streams.publishing.bridges.platform_signals import ModelCredits, PlatformSignal, credits_by_model, platform_signals
from streams.publishing.bridges.sender_transaction import BridgeError, CurrentSession, SenderTransactions

if TYPE_CHECKING:
    import blinker

AFTER_COMMIT_DELAY = timedelta(seconds=1)
"""What goes out in a transaction of its own waits so long: most often its sender has committed by then."""
EXTENSION = "streams_signals"


@dataclass(frozen=True, slots=True)
class Receiver:
    """Receives one signal and publishes its event."""

    signal: PlatformSignal
    transactions: SenderTransactions

    def __call__(self, sender: object, **arguments: object) -> None:
        """Publish. What fails here fails in the sender, so that nothing commits whose event is lost.

        Raises BridgeError; what `Outbox.publish` raises; errors of the database.
        """
        session = None
        if self.signal.transaction == "sender's":
            carrier = sender if self.signal.carrier is None else arguments.get(self.signal.carrier)
            session = self.transactions.open_for(carrier)
        try:
            event = self.signal.event_of(sender, arguments)
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
            self.transactions.beside(event, delay=AFTER_COMMIT_DELAY)
        else:
            self.transactions.within(session, event)


class SignalBridge:
    """Signals that are connected, until `disconnect`."""

    def __init__(self, connected: "list[tuple[blinker.Signal, Receiver]]") -> None:
        self._connected = connected

    def disconnect(self) -> None:
        """Let the signals go; safe to repeat."""
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

    Args:
        session: the platform's scoped session (`db.session`), or another function that gives the current session.
        codec: None takes that of the environment's settings.
        signals: wire names, such as ``app-was-created``; None: all ten.
        model_credits: a model's cost where the quota counts credits; None: 1 for each.

    Other receivers of a signal stay connected: those whose work a handler does now are to be taken off. Raises
    BridgeError where blinker is missing, a name is unknown or a signal is connected already; SchemaMissingError.
    """
    known = {signal.name: signal for signal in platform_signals(model_credits or (lambda _: 1))}
    wanted = known if signals is None else dict.fromkeys(signals)
    if unknown := wanted.keys() - known.keys():
        message = f"no signal {', '.join(sorted(unknown))}; there are: {', '.join(known)}"
        raise BridgeError(message)
    codec = codec or default_codec()
    transactions = SenderTransactions(session, codec)
    found = [(_named(name), Receiver(known[name], transactions)) for name in wanted]
    for signal, receiver in found:
        codec.check(receiver.signal.event)
        if _bridged(signal):
            message = f"signal {receiver.signal.name} is connected already: disconnect the former bridge first"
            raise BridgeError(message)
    for signal, receiver in found:
        signal.connect(receiver, weak=False)
    return SignalBridge(found)


class FlaskApp(Protocol):
    """What `init_app` needs of a Flask app."""

    @property
    def config(self) -> Mapping[str, object]:
        """Its settings."""

    @property
    def extensions(self) -> MutableMapping[str, object]:
        """What has been initialised for it, by name."""


def init_app(app: FlaskApp) -> None:
    """Connect all signals for a Flask app; this module fits the platform's list of extensions, after its database.

    What models cost is the config's `HOSTED_MODEL_CREDIT_CONFIG`; the pipeline's settings are the environment's.
    Signals are the process's, not an app's: a second app takes them over. Raises what `connect_signals` raises, and
    BridgeError where the app has no database.
    """
    session = getattr(app.extensions.get("sqlalchemy"), "session", None)
    if session is None:
        message = "this app has no database: put the bridge behind it in the list of extensions"
        raise BridgeError(message)
    model_credits = credits_by_model(str(app.config.get("HOSTED_MODEL_CREDIT_CONFIG") or ""))
    for platform_signal in platform_signals(model_credits):
        signal = _named(platform_signal.name)
        for receiver in _bridged(signal):
            signal.disconnect(receiver)
    app.extensions[EXTENSION] = connect_signals(session, model_credits=model_credits)


def _named(name: str) -> "blinker.Signal":
    """The process's signal of a name: the one that the platform's modules made, or will make."""
    try:
        import blinker  # noqa: PLC0415 - only this bridge needs it; publishing goes without
    except ImportError as error:
        message = "blinker is not installed; it comes with the extra `bridges`"
        raise BridgeError(message) from error
    return blinker.signal(name)


def _bridged(signal: "blinker.Signal") -> list[Receiver]:
    """The receivers of a bridge that are connected to a signal."""
    return [receiver for receiver in signal.receivers.values() if isinstance(receiver, Receiver)]
