"""The demo: the main job on real documents, told step by step; what is claimed is looked up first."""

from streams.local.demo.claims import ClaimError
from streams.local.demo.documents import DocumentsError, read_documents
from streams.local.demo.question import chosen_question
from streams.local.demo.screen import Screen
from streams.local.demo.servers import SETTINGS, demo_stack
from streams.local.demo.story import tell
from streams.local.demo.summary import Summary

__all__ = [
    "SETTINGS",
    "ClaimError",
    "DocumentsError",
    "Screen",
    "Summary",
    "chosen_question",
    "demo_stack",
    "read_documents",
    "tell",
]
