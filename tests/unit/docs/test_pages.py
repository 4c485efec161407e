"""What the pages say is what the code has."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from streams import headers
from streams.cli import COMMANDS
from streams.delivery.errors import Reason
from streams.durations import format_duration
from streams.observability.metrics import REGISTRY
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.runtime.overrides import Overrides, apply_to_handlers, apply_to_topics
from streams.settings import Settings
from streams.topics import BUILT_IN
from tests.support import acceptance, reference
from tests.support.pages import ROOT, RUN, SILENT, Page, accepted_tests, page, pages

LONGEST_PAGE = 200
SETTINGS_PAGES = ("settings", "settings-documents", "settings-schedules", "settings-observability")
"""Lines."""
GLOSSARY = {
    *("attempt", "breaker", "catalogue", "claim", "claim check", "crash-loop guard", "dead letter", "deferral"),
    *("delivery", "event", "execution", "fence", "hand-over", "handler", "lane", "lease", "ledger", "outbox"),
    *("platform", "pool", "relay", "replay", "resource", "retry tier", "schedule", "settle", "slot", "step"),
    *("ticket", "topic", "window"),
}
"""Words of the design that a newcomer meets; the page may have more."""
EACH_PAGE = pytest.mark.parametrize("of", pages(), ids=lambda of: of.name)


@pytest.mark.requirement("Development", "this page is generated from markers on the tests")
def test_the_acceptance_page_is_generated_from_the_markers_of_the_tests() -> None:
    """A marker that was added, changed or removed shows on the page: `python -m tests.support.acceptance`."""
    assert len(accepted_tests()) > 50

    assert page("docs/acceptance.md").text == acceptance.page()


@EACH_PAGE
def test_each_block_is_run_or_says_why_not(of: Page) -> None:
    """A language that nobody runs is named as such; what is not run has a reason that is one."""
    for block in of.blocks:
        assert block.language in {*RUN, *SILENT}, f"a block of language {block.language!r} is run by no test"
        assert block.reason is None or len(block.reason.split()) > 2
    assert of.text.count("\n```") == 2 * len(of.blocks), "a fence is not closed, or is indented"


@EACH_PAGE
def test_links_lead_somewhere(of: Page) -> None:
    """Links between pages and to files, headings included."""
    folder = (ROOT / of.name).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", of.text):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        file = (folder / path) if path else ROOT / of.name
        assert file.exists(), target
        if heading:
            assert heading in _anchors(file.read_text(encoding="utf-8")), target


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.requirement("A new user's two commands", "the example of the README is the one in `examples`")
@EACH_PAGE
def test_a_block_that_names_a_file_is_that_file(of: Page) -> None:
    """An example that is shown is the one that is tested."""
    for block in of.blocks:
        if block.info and not block.is_output:
            assert block.text == (ROOT / block.info).read_text(encoding="utf-8")


@pytest.mark.requirement(
    "A new user's two commands",
    "README: what it is, the two commands, what the demo showed, a picture, an event with its handler",
)
def test_the_readme_has_what_a_newcomer_asks() -> None:
    """The two commands, the demo's output, the picture, an event and its handler, the licence."""
    readme = page("README.md")
    blocks = [block.text for block in readme.blocks]
    assert "make demo\nmake test\n" in blocks
    assert any("nothing is left" in text and "dead letter" in text for text in blocks)
    assert "docs/pictures/way-of-an-event.svg" in readme.text
    assert any("@handles(" in text and "TOPICS = " in text for text in blocks)
    assert "](LICENSE)" in readme.text


@pytest.mark.requirement("A new user's two commands", "the licence is Apache 2.0")
def test_the_licence_is_apache_2() -> None:
    assert re.search(r"Apache License\s+Version 2\.0", (ROOT / "LICENSE").read_text(encoding="utf-8"))
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"


def test_the_readme_lists_every_command() -> None:
    readme = page("README.md").text
    assert set(COMMANDS) > {"publish", "dlq"}
    missing = [name for name in COMMANDS if f"`streams {name}" not in readme]
    assert missing == []


@pytest.mark.requirement("Development", "pages in folders; the index leads to each")
def test_the_index_leads_to_every_page() -> None:
    index = page("docs/index.md")
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", index.text)}
    others = [of.name for of in pages() if of.name.startswith("docs/") and of.name != index.name]
    missing = [name for name in others if (ROOT / name).resolve() not in linked]
    assert missing == []


@EACH_PAGE
def test_a_page_is_one_subject_and_short(of: Page) -> None:
    """Acceptance and the domain are generated lists; pages outside of docs have forms of their own."""
    if of.name.startswith("docs/") and of.name not in {"docs/acceptance.md", "docs/domain.md"}:
        assert of.text.startswith("# ")
        assert len(of.text.splitlines()) <= LONGEST_PAGE


@EACH_PAGE
def test_modules_that_a_page_names_exist(of: Page) -> None:
    named = set(re.findall(r"`((?:streams|schemas|tests|benchmarks|examples)/[\w/.-]+)`", of.text))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.requirement("Development", "reference tables are generated from the code")
def test_generated_tables_are_those_of_the_code() -> None:
    """`python -m tests.support.reference` writes them anew."""
    generated = [path for path in sorted(reference.FOLDER.glob("*.md")) if "<!-- generated: " in path.read_text()]
    assert len(generated) > 2
    stale = [path.name for path in generated if reference.refreshed(path.read_text()) != path.read_text()]
    assert stale == []


@pytest.mark.requirement("Development", "a glossary")
def test_the_glossary_has_its_words_in_order() -> None:
    _, _, rows = page("docs/glossary.md").text.partition("|---|---|---|\n")
    words = re.findall(r"^\| ([^|]+) \|", rows, re.MULTILINE)
    assert words == sorted(words, key=str.casefold)
    assert len(words) == len(set(words))
    assert sorted(GLOSSARY - set(words)) == []


@pytest.mark.requirement("Faults and operations", "every client's connect and request time-out by setting")
def test_every_setting_is_listed_with_its_default() -> None:
    """Name and default of each, and of nothing else; a documented default, set in a shell, is the default."""
    row = re.compile(r"^\| `STREAMS_(\w+)` \| (?:`([^`]*)`)? *\|.*\|$", re.MULTILINE)
    text = "\n".join(page(f"docs/reference/{name}.md").text for name in SETTINGS_PAGES)
    documented = {name.lower(): default for name, default in row.findall(text)}
    fields = Settings.model_fields

    assert documented == {name: _default(field) for name, field in fields.items()}
    for name, default in documented.items():
        if default:
            read = Settings.model_validate({name: default})
            assert getattr(read, name) == fields[name].get_default(call_default_factory=True)


def _default(field: FieldInfo) -> str:
    """As one would write it in a shell."""
    value = field.get_default(call_default_factory=True)
    match value:
        case bool():
            return str(value).lower()
        case float():
            return format_duration(value)
        case tuple():
            return ",".join(format_duration(part) if isinstance(part, float) else part for part in value)
        case SecretStr():
            return value.get_secret_value()
    return str(value) if value else ("0" if value == 0 else "")


def test_every_metric_is_listed() -> None:
    text = page("docs/reference/metrics.md").text
    ours = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("streams_")}
    assert ours
    assert [name for name in ours if f"`{name}" not in text] == []


def test_every_header_is_listed() -> None:
    prefixes = {headers.STREAMS_PREFIX, headers.DLQ_PREFIX, headers.SPRING_PREFIX}
    spellings = {value for name, value in vars(headers).items() if name.isupper() and isinstance(value, str)} - prefixes
    assert _first_column("docs/reference/headers.md") == spellings


def test_every_reason_is_listed() -> None:
    assert _first_column("docs/reference/dead-letter-reasons.md") == set(Reason)


def _first_column(name: str) -> set[str]:
    """The names in the first column of a page's tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", page(name).text, re.MULTILINE))


def test_the_overrides_that_are_shown_can_be_used() -> None:
    """They name what exists and keep the soft limit below the hard one."""
    (shown,) = [block.text for block in page("docs/how-to/override-handlers.md").blocks if block.language == "toml"]
    overrides = Overrides.model_validate(tomllib.loads(shown))
    changed = {handler.name: handler for handler in apply_to_handlers(build_handlers(Settings()), overrides)}
    assert changed["index-document"].time_limit == 1200
    assert {topic.name: topic.pool for topic in apply_to_topics(BUILT_IN, overrides)}["document.deleted"] == "default"


def test_the_names_on_the_cluster_are_as_documented() -> None:
    text = page("docs/reference/topics.md").text
    catalogue = build_catalogue(Settings())
    for name in (catalogue.group("default"), catalogue.tier("default", 10.0), catalogue.dlq("document.deleted")):
        assert f"`{name}`" in text


@pytest.mark.requirement("Source tree and packaging", "the architecture page shows the layers that are checked")
def test_the_layers_are_those_that_are_checked() -> None:
    """The same modules in the same order as in the contract of `make check`."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    checked = contracts[0]["layers"]
    _, _, table = page("docs/explanation/architecture.md").text.partition("| what it is for |")
    _, _, *rows = table.partition("\n\n")[0].splitlines()
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [
        [name.removeprefix("streams.") for name in re.findall(r"[\w.]+", layer)] for layer in checked
    ]


def test_no_page_names_this_machine() -> None:
    """Pages hold no path of the machine that they were written on."""
    for of in pages():
        assert str(Path.home()) not in of.text
        assert str(ROOT) not in of.text
