"""Renders a caller's own template. It runs in a compute process, which can be killed and has no network.

Values of substitutions are escaped. A template that wants one as HTML says so by ``|safe``.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from jinja2 import Environment
from jinja2.sandbox import ImmutableSandboxedEnvironment

from streams.dify.errors import RefusedError
from streams.dify.extraction.web.page import page_text
from streams.dify.ids import storable
from streams.dify.mail.message import Content

Mode = Literal["sandbox", "unsafe", "disabled"]
MAX_HTML = 1_000_000
"""Characters of a rendered template."""


def render_caller_template(subject: str, body: str, substitutions: Mapping[str, str], mode: Mode) -> Content:
    """Return the mail of a caller's template.

    Args:
        subject: As it is; no template.
        body: A Jinja template of HTML.
        substitutions: The values of its variables. A variable without a value is empty.
        mode: sandbox: no attribute with a leading underscore, no change of values, short ranges. unsafe: everything
            that Jinja can do. disabled: the body is no template.

    Raises:
        RefusedError: The template is wrong, fails, or its result is too long.
    """
    html = storable(body if mode == "disabled" else _rendered(body, substitutions, mode))
    if len(html) > MAX_HTML:
        raise RefusedError(_TOO_LONG)
    return Content(storable(subject), page_text(html), html)


_TOO_LONG = f"the template's result has more than {MAX_HTML} characters"


def _rendered(body: str, substitutions: Mapping[str, str], mode: Mode) -> str:
    make = ImmutableSandboxedEnvironment if mode == "sandbox" else Environment
    environment = make(autoescape=True)
    try:
        return "".join(_bounded(environment.from_string(body).generate(dict(substitutions))))
    except (MemoryError, RefusedError):
        raise
    except Exception as error:  # a template calls what it likes, which raises anything
        said = " ".join(str(error).splitlines()[:1])
        message = f"the template cannot be rendered: {type(error).__name__}: {said}"
        raise RefusedError(message) from error


def _bounded(parts: Iterable[str]) -> Iterator[str]:
    """Yield the parts of a result. Raises RefusedError once they are too long."""
    length = 0
    for part in parts:
        length += len(part)
        if length > MAX_HTML:
            raise RefusedError(_TOO_LONG)
        yield part
