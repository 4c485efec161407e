"""The file of STREAMS_EMBEDDING_ENDPOINTS, and the names of providers."""

from pathlib import Path

import pytest

from streams.dify.embedding.provider_names import full_provider_name, plugin_and_provider, provider_spellings
from streams.dify.platform import build_platform
from streams.settings import Settings, SettingsError

SECTION = "Embedding and loading"
SEVERAL = "several embedding endpoints by a TOML file; providers by their short and full names"
FILE = """
[[endpoints]]
provider = "openai"
model = "text-embedding-3-small"
url = "https://one.example.com/v1/"
api_key = "very-secret"
dimensions = 1536
batch = 16
concurrency = 2
request_timeout = "10s"

[[endpoints]]
provider = "langgenius/tongyi/tongyi"
model = "text-embedding-v3"
url = "http://127.0.0.1:9/v1"
"""


def settings_of(path: Path, text: str, **more: object) -> Settings:
    file = path / "endpoints.toml"
    file.write_text(text, encoding="utf-8")
    return Settings.model_validate({"embedding_endpoints": file, **more})


@pytest.mark.requirement(SECTION, SEVERAL)
def test_each_model_has_its_endpoint(tmp_path: Path) -> None:
    """Beside the local model, which stays the default. The limits of the file go before those of the settings."""
    platform = build_platform(settings_of(tmp_path, FILE, embedding_batch=8))
    one = platform.embedder("openai", "text-embedding-3-small")
    assert one is platform.embedder("langgenius/openai/openai", "text-embedding-3-small")
    assert (one.provider, one.batch_size) == ("langgenius/openai/openai", 32)
    assert platform.embedder("tongyi", "text-embedding-v3").batch_size == 32
    assert platform.default_embedder is platform.embedder("local", "wordllama-256")
    assert not platform.is_configured("openai", "text-embedding-v3")


@pytest.mark.requirement(SECTION, SEVERAL)
def test_the_single_endpoint_stays(tmp_path: Path) -> None:
    """It is the default, and its settings go before a file that has the same model."""
    single = {"embedding_provider": "openai", "embedding_model": "text-embedding-3-small"}
    settings = settings_of(tmp_path, FILE, embedding_url="http://127.0.0.1:8/v1", embedding_batch=3, **single)
    platform = build_platform(settings)
    assert platform.default_embedder is platform.embedder("langgenius/openai/openai", "text-embedding-3-small")
    assert platform.default_embedder.batch_size == 12
    assert platform.is_configured("tongyi", "text-embedding-v3")


@pytest.mark.requirement(SECTION, SEVERAL)
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[endpoints]\n", r"is not TOML: "),
        ('[[endpoints]]\nprovider = "openai"\nmodel = "m"\n', r"endpoints\.0\.url: Field required"),
        (FILE.replace("https://one", "ftp://one"), r"endpoints\.0\.url: this is not a URL"),
        (FILE.replace("//one", "//user:very-secret@one"), r"endpoints\.0\.url: a user name or password"),
        (FILE.replace("batch", "bach"), r"endpoints\.0\.bach: there is no such field"),
        (FILE.replace("batch = 16", "batch = 0"), r"endpoints\.0\.batch: Input should be greater than"),
        (FILE.replace('"very-secret"', '["very-secret"]'), r"endpoints\.0\.api_key: Input should be a valid string"),
        (FILE.replace('"openai"', '"local"'), r"endpoints\.0\.provider: 'local' is the local model"),
        (FILE + FILE, r"text-embedding-3-small of langgenius/openai/openai is there twice"),
        ('endpoints = "very-secret"', r"endpoints: Input should be a valid tuple"),
    ],
)
def test_a_wrong_file_is_one_line_without_its_values(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=rf"^STREAMS_EMBEDDING_ENDPOINTS: .*endpoints\.toml.*{problem}") as refused:
        build_platform(settings_of(tmp_path, text))
    assert "\n" not in str(refused.value)
    assert "very-secret" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^STREAMS_EMBEDDING_ENDPOINTS: .*none\.toml: No such file"):
        build_platform(Settings(embedding_endpoints=tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"is not UTF-8$"):
        build_platform(Settings(embedding_endpoints=tmp_path / "bytes.toml"))


@pytest.mark.requirement(SECTION, SEVERAL)
def test_provider_names() -> None:
    assert full_provider_name("openai") == "langgenius/openai/openai"
    assert full_provider_name("google") == "langgenius/gemini/google"
    assert full_provider_name("someone/tool/model") == "someone/tool/model"
    assert full_provider_name("openai http://x") == "openai http://x"
    assert provider_spellings("openai") == provider_spellings("langgenius/openai/openai")
    assert provider_spellings("google") == ("langgenius/gemini/google", "google")
    assert provider_spellings("langgenius/azure/openai") == ("langgenius/azure/openai",)
    assert provider_spellings("someone/openai/openai") == ("someone/openai/openai",)
    assert plugin_and_provider("google") == ("langgenius/gemini", "google")
    assert plugin_and_provider("a/b") is None
    assert plugin_and_provider("a//b") is None
    assert plugin_and_provider("../../x/y") is None
