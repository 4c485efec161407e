"""A streaming event pipeline on Kafka for an LLM-app platform.

`faust -A streams worker` finds the app here; it is made when it is asked for, so that producers who import
`streams.publishing` load no Faust. `__version__` is the version of the installed package.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.transport.faust.app import StreamsApp

__all__ = ["__version__", "app"]

app: "StreamsApp"
__version__: str


def __getattr__(name: str) -> object:
    """Make `app` or `__version__` at its first use: importing `streams` loads neither Faust nor package metadata."""
    match name:
        case "app":
            from streams.bootstrap import build_app  # noqa: PLC0415 - Faust is loaded for workers only

            made: object = _app_or_exit(build_app)
        case "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - takes longer to import than all of this package

            made = version("event-streams")
        case _:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
    globals()[name] = made
    return made


def _app_or_exit(build: "Callable[[], object]") -> object:
    """Return the app, or end the process with one line about a wrong setting: Faust would print a traceback."""
    from streams.settings import SettingsError  # noqa: PLC0415 - a producer may never need it

    try:
        return build()
    except SettingsError as error:
        raise SystemExit(f"the worker cannot start: {error}") from None
