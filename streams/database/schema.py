"""The PostgreSQL schema `streams`, and the metadata that its tables belong to."""

from sqlalchemy import MetaData

SCHEMA = "streams"
metadata = MetaData(schema=SCHEMA)
