"""The results of the demo, for the screen and, unchanged, for `--json`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that answered the question."""

    document: str
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The results; times in seconds."""

    seconds: float
    """The total time, including the start of the servers."""
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
    """The number of runs of the document without a file, before it became a dead letter."""
    dead_letter: str
    dead_letter_reason: str
    retry_latest: float
    """The delay of the latest retry."""
    had: dict[str, int]
    """The counts of the dataset before its deletion, by table and store."""
    left: dict[str, int]

    def in_words(self) -> dict[str, str]:
        """Return names and values for the screen."""
        speed = f"{self.documents_per_second:.1f} documents, {self.segments_per_second:.0f} segments per second"
        latency = f"half of the documents within {self.latency_median:.2f} s, all within {self.latency_most:.2f} s"
        return {
            "throughput": speed,
            "latency": latency,
            "retries": f"late by {self.retry_latest * 1000:.0f} ms at most, never early",
            "left behind": f"{sum(self.left.values())} of {sum(self.had.values())} rows, vectors and files",
            "total time": f"{self.seconds:.0f} s",
        }
