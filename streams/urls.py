"""Checks URLs of settings, and masks them for people: a URL may contain a password, a token or a key."""

from urllib.parse import SplitResult, urlsplit, urlunsplit

MASK = "***"
HARMLESS_PARAMETERS = frozenset(
    {"sslmode", "sslrootcert", "target_session_attrs", "connect_timeout", "application_name", "ssl_cert_reqs", "db"}
)
"""Query parameters that are shown with their values."""
_WITH_USER = ("postgresql", "postgres", "postgresql+psycopg", "redis", "rediss", "redis+sentinel", "rediss+sentinel")
"""Schemes whose user name is no secret if a password follows it. Elsewhere the name may be a token."""
_DATABASES = _WITH_USER[:3]


def check_urls(urls: str, schemes: tuple[str, ...] = ()) -> str:
    """Return the URLs, separated by commas, of a setting that is shown in errors.

    Args:
        urls: The value of the setting.
        schemes: The schemes that need a host; empty: any.

    Raises:
        ValueError: One is not a URL or contains a password. The message does not repeat it.
    """
    for url in urls.split(","):
        parts = _split(url)
        if parts is None or (schemes and (parts.scheme not in schemes or not parts.hostname)):
            form = f"write {' or '.join(f'{scheme}://host:port' for scheme in schemes)}" if schemes else "check it"
            message = f"this is not a URL; {form}"
            raise ValueError(message)
        if "@" in parts.netloc:
            message = "a user name or password in this URL would be shown in errors; use the settings for them"
            raise ValueError(message)
    return urls


def masked_url(url: str) -> str:
    """Return a URL without its secrets. Text that is not a URL is masked completely."""
    parts = _split(url)
    if parts is None or not parts.scheme or (not parts.hostname and "@" in url):
        return MASK
    if not (parts.netloc or parts.query or parts.fragment):
        return url  # a path
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(map(_masked_parameter, parts.query.split("&"))) if parts.query else ""
    return urlunsplit((parts.scheme, _masked_user(parts) + host, parts.path, query, ""))


def _masked_parameter(parameter: str) -> str:
    name, has_value, _ = parameter.partition("=")
    if not has_value:
        return MASK
    return parameter if name in HARMLESS_PARAMETERS else f"{name}={MASK}"


def _masked_user(parts: SplitResult) -> str:
    if "@" not in parts.netloc:
        return ""
    user, colon, _ = parts.netloc.rpartition("@")[0].partition(":")
    if parts.scheme in _DATABASES and not colon:
        return f"{user}@"
    return f"{user}:{MASK}@" if parts.scheme in _WITH_USER and colon else f"{MASK}@"


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL. None: it is not one."""
    if not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2].split(",")
        ports = [urlsplit(f"//{host}").port for host in hosts]  # ValueError for what is no number
    except ValueError:
        return None
    return None if any(port == 0 for port in ports) else parts
