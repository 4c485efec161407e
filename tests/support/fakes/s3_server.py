"""A fake S3 server on a port of the loopback interface, with one bucket."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "files"
REGION = "us-east-1"
KEY = "test"
"""Access key and secret key."""


@contextmanager
def s3_server(port: int = 0) -> Iterator[str]:
    """Start the server and yield its URL. Port 0 takes a free one."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, taken = server.get_host_and_port()
    url = f"http://{host}:{taken}"
    client = boto3.client("s3", endpoint_url=url, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=KEY)
    client.create_bucket(Bucket=BUCKET)
    yield url
    server.stop()
