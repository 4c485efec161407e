"""Vector stores behind the port of streams.dify.vector_stores.port: one file a store."""
