"""A streaming event pipeline on Kafka for an LLM-app platform.

`faust -A streams worker` finds the app here; it is made when it is asked for, so that producers who import
`streams.publishing` load no Faust.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.transport.faust.app import StreamsApp

__all__ = ["app"]

app: "StreamsApp"


def __getattr__(name: str) -> object:
    if name != "app":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from streams.bootstrap import build_app  # noqa: PLC0415 - Faust is loaded for workers only

    globals()["app"] = made = build_app()
    return made
