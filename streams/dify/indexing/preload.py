"""Code that the killable processes share. The fork server imports it once.

The model is loaded here. So all processes share its memory, and a replaced process starts at once.
"""

from streams.dify.embedding.local import load_local_model
from streams.dify.extraction import load_readers
from streams.dify.imports.csv_rows import read_rows
from streams.dify.indexing.prepare import prepare

__all__ = ["prepare", "read_rows"]

load_readers()
load_local_model()
