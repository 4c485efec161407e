"""What the killable processes share: imported once by the server that they are forked from.

The model is loaded here, so that its memory is theirs together and a replaced process is ready at once.
"""

from streams.dify.embedding.local import load_local_model
from streams.dify.extraction import load_readers
from streams.dify.indexing.prepare import prepare

__all__ = ["prepare"]

load_readers()
load_local_model()
