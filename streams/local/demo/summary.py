"""The demo in figures, for people and, as they are, for `--json`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that answered the question."""

    document: str
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What was shown; times in seconds."""

    seconds: float
    """All of it, servers included."""
    documents: int
    segments: int
    indexing_seconds: float
    documents_per_second: float
    segments_per_second: float
    latency_median: float
    latency_most: float
    question: str
    passages: tuple[Found, ...]
    attempts: int
    """Runs of the document without a file, before it was a dead letter."""
    dead_letter: str
    dead_letter_reason: str
    retry_latest: float
    """By how much the latest of its retries ran after it was due."""
    had: dict[str, int]
    """What the dataset had before it was deleted, by table and store."""
    left: dict[str, int]

    def in_words(self) -> dict[str, str]:
        """Names and values for a screen."""
        speed = f"{self.documents_per_second:.1f} documents, {self.segments_per_second:.0f} segments a second"
        latency = f"half of the documents within {self.latency_median:.2f} s, all within {self.latency_most:.2f} s"
        return {
            "throughput": speed,
            "latency": latency,
            "retries": f"late by {self.retry_latest * 1000:.0f} ms at most, never early",
            "left behind": f"{sum(self.left.values())} of {sum(self.had.values())} rows, vectors and files",
            "all of it": f"{self.seconds:.0f} s",
        }
