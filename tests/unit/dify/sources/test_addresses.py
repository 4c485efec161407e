"""Web pages at private addresses are refused, in whatever form their address is written."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.errors import RefusedError
from streams.dify.sources.addresses import check_own_request, check_page_address, is_private_host

FAULT = "Faults of others"
REQUIREMENT = "M12: pages at private addresses are refused, unless a setting allows them"


@pytest.mark.requirement(FAULT, REQUIREMENT)
@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "0.0.0.0",  # noqa: S104 - refused
            "10.0.0.5",
            "192.168.1.1",
            "172.16.3.4",
        ),
        *("169.254.169.254", "100.64.0.1", "[::1]", "[::]", "[fe80::1%25eth0]", "[fd00::1]", "[::ffff:10.0.0.1]"),
        *("localhost", "LOCALHOST.", "db.localhost", "postgres", "metadata.google.internal", "printer.local", "x.lan"),
    ],
)
def test_private_hosts(host: str) -> None:
    """Numbers in all forms that a browser takes, names without a dot, and names of private zones."""
    url = f"http://{host}:8080/latest/meta-data"
    with pytest.raises(RefusedError, match=r"private address.*STREAMS_SOURCE_PRIVATE_ADDRESSES"):
        check_page_address(url, private=False)
    check_page_address(url, private=True)


@pytest.mark.requirement(FAULT, REQUIREMENT)
@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://example.org/a",
            "http://example.org:8080/a?b=c#d",
            "https://93.184.216.34/",
            "http://xn--bcher-kva.example/",
        ),
        *(
            "https://[2606:2800:220:1:248:1893:25c8:1946]/",
            "https://example.org/../../admin",
            "https://bücher.example/",
        ),
    ],
)
def test_public_pages(url: str) -> None:
    check_page_address(url, private=False)


@pytest.mark.requirement(FAULT, REQUIREMENT)
@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org/", "file:///etc/passwd", "http://", "http:///a", "javascript:alert(1)", "//example.org/"),
        *(
            "http://user:secret@example.org/",
            "http://example.org@127.0.0.1/",
            "http://example.org\\@a/",
            "http://a b.org/",
        ),
        *(
            "http://example.org/\r\nX-Header: 1",
            "http://[::1/",
            "http://example.org:99999/",
            "http://example.org/" + "a" * 5000,
        ),
    ],
)
def test_what_is_no_page_is_refused_even_where_private_ones_are_allowed(url: str) -> None:
    """Other protocols, user names, control characters and unusable ports."""
    with pytest.raises(RefusedError):
        check_page_address(url, private=True)


@given(st.text(max_size=60))
def test_every_other_text_is_decided(host: str) -> None:
    """Neither decision raises anything but RefusedError."""
    is_private_host(host)
    with suppress(RefusedError):
        check_page_address(f"http://{host}", private=False)


@pytest.mark.requirement(FAULT, REQUIREMENT)
async def test_the_pipeline_itself_requests_no_private_address() -> None:
    """A service may name a file at its own address. Elsewhere a private address is refused, also behind a name."""
    await check_own_request("http://127.0.0.1:8000/media/a.json", "http://127.0.0.1:8000", private=False)
    await check_own_request("http://127.0.0.1:9000/media/a.json", "http://127.0.0.1:8000", private=True)
    for url in (
        "http://127.0.0.1:9000/a",
        "https://127.0.0.1:8000/a",
        "http://localhost:8000/a",
        "http://169.254.169.254/",
    ):
        with pytest.raises(RefusedError, match="private address"):
            await check_own_request(url, "http://127.0.0.1:8000", private=False)
