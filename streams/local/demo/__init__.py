"""The demo: shows the main work on real documents, step by step, and verifies each statement."""

from streams.local.demo.checks import ClaimError
from streams.local.demo.documents import DocumentsError, read_documents
from streams.local.demo.question import choose_question
from streams.local.demo.scenario import run_demo, run_demo_on_existing
from streams.local.demo.screen import Screen
from streams.local.demo.servers import SETTINGS, demo_stack
from streams.local.demo.summary import Summary

__all__ = [
    "SETTINGS",
    "ClaimError",
    "DocumentsError",
    "Screen",
    "Summary",
    "choose_question",
    "demo_stack",
    "read_documents",
    "run_demo",
    "run_demo_on_existing",
]
