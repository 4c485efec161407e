"""Writes the mails of our own templates: `texts/en-US.toml`, `texts/zh-Hans.toml`, and one layout for both forms.

Templates are in Jinja and write plain text. The layout escapes everything that it puts into HTML.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined, UndefinedError
from jinja2 import Template as JinjaTemplate
from pydantic import BaseModel, ConfigDict

from streams.dify.errors import RefusedError
from streams.dify.ids import storable
from streams.dify.mail.message import Content, one_line

ENGLISH, CHINESE = "en-US", "zh-Hans"
LANGUAGES = (ENGLISH, CHINESE)
_MAX_NAME = 200
"""Characters of a name in a mail. A longer one is cut."""
_PHASES = frozenset({"old_email", "new_email"})
CODE_KINDS = frozenset(
    {
        "account-deletion-verification",
        "change-mail",
        "email-code-login",
        "owner-transfer-confirm",
        "register",
        "reset-password",
    }
)
"""The mails with a code. All others have none."""
_LINKS = {
    "document-notice": "/datasets",
    "invite-member": "/activate?token={token}",
    "register-when-account-exists": "/signin",
    "reset-password-when-account-not-exists": "/signup",
}
"""Paths of the platform's console that mails link to, by kind."""


@dataclass(frozen=True, slots=True)
class Brand:
    """What every mail shows of its deployment."""

    name: str
    logo_url: str | None
    console_url: str
    """Without a slash at its end."""


class Template(BaseModel):
    """One kind of mail in one language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str
    body: str
    """Paragraphs, with blank lines between them."""
    link: str = ""
    """The words of its link. Nothing: it has no link."""


class Texts(BaseModel):
    """All mails in one language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    footer: str
    mails: dict[str, Template]


Shown = str | bool | Mapping[str, str]
Values = Mapping[str, Shown | None]
"""The fields of an event, by the names that templates use. None: the event does not say it."""


def write_mail(kind: str, language: str | None, values: Values, brand: Brand) -> Content:
    """Return a mail in the receiver's language: Chinese for zh-Hans, else English.

    Args:
        kind: The kind, as the event has it.
        language: The language, as the event has it.
        values: What its template shows.
        brand: The deployment.

    Raises:
        RefusedError: There is no such kind, or a value that it needs is missing.
    """
    chosen = CHINESE if language == CHINESE else ENGLISH
    texts = load_texts(chosen)
    template = texts.mails.get(kind)
    if template is None:
        message = f"there is no mail of the kind {kind[:_MAX_NAME]!r}; known: {', '.join(sorted(texts.mails))}"
        raise RefusedError(message)
    if bool(values.get("code")) != (kind in CODE_KINDS):
        message = f"a mail of the kind {kind} {'needs a' if kind in CODE_KINDS else 'has no'} code"
        raise RefusedError(message)
    if kind == "change-mail" and values.get("phase") not in _PHASES:
        message = f"a mail of the kind change-mail needs the phase {' or '.join(sorted(_PHASES))}"
        raise RefusedError(message)
    given = {name: _shown(value) for name, value in values.items() if value is not None}
    shown = {**given, "brand": brand.name}
    try:
        subject, body, words, footer = (
            _PLAIN.from_string(text).render(shown)
            for text in (template.subject, template.body, template.link, texts.footer)
        )
    except UndefinedError as error:
        message = f"a mail of the kind {kind} needs a field that the event does not have: {error.message}"
        raise RefusedError(message) from error
    url = _link(kind, given, brand) if words else ""
    return _laid_out(chosen, brand, _Parts(subject, body, str(given.get("code", "")), words, url, footer))


@dataclass(frozen=True, slots=True)
class _Parts:
    subject: str
    body: str
    code: str
    link: str
    url: str
    footer: str


def _laid_out(language: str, brand: Brand, parts: _Parts) -> Content:
    paragraphs = [" ".join(part.split()) for part in parts.body.split("\n\n") if part.strip()]
    fields = {
        "language": language,
        "brand": brand,
        "subject": one_line(parts.subject, _MAX_NAME),
        "paragraphs": paragraphs,
        "code": parts.code,
        "link": parts.link,
        "url": parts.url,
        "footer": parts.footer,
    }
    text, html = (_layout(name).render(fields) for name in _LAYOUTS)
    return Content(str(fields["subject"]), text, html)


def _name(value: str) -> str:
    """Return a value as a mail shows it: a name with line breaks could pretend to be a paragraph of ours."""
    return one_line(storable(value), _MAX_NAME)


def _shown(value: Shown) -> Shown:
    if isinstance(value, str):
        return _name(value)
    return value if isinstance(value, bool) else {_name(name): _name(text) for name, text in value.items()}


def _link(kind: str, given: Mapping[str, Shown], brand: Brand) -> str:
    token = given.get("token", "")
    if kind == "invite-member" and not token:
        message = "a mail of the kind invite-member needs a token"
        raise RefusedError(message)
    return brand.console_url + _LINKS[kind].format(token=quote(str(token), safe=""))


_PLAIN = Environment(undefined=StrictUndefined)  # noqa: S701 - it writes plain text, which the layout escapes for HTML
_LAYOUTS = {
    "layout.txt": Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True),  # noqa: S701 - as above
    "layout.html": Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True),
}


@lru_cache(maxsize=2)
def _layout(name: str) -> JinjaTemplate:
    return _LAYOUTS[name].from_string(_file(f"{name}.jinja"))


@lru_cache(maxsize=len(LANGUAGES))
def load_texts(language: str) -> Texts:
    """Return the texts of a language of LANGUAGES."""
    return Texts.model_validate(tomllib.loads(_file(f"{language}.toml")))


def _file(name: str) -> str:
    return files("streams.dify.mail").joinpath("texts", name).read_text(encoding="utf-8")
