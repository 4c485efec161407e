"""Vector stores behind the port of streams.dify.vector_index: one file a store."""
