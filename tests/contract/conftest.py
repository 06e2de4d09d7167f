"""One object store for the S3 tests of a module, emptied after each."""

from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.testing.object_server import ObjectServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    server = ObjectServer(tmp_path_factory.mktemp("home"))
    yield server
    server.close()


@pytest.fixture
def s3(server: ObjectServer) -> Iterator[Any]:
    """A client of the first account, which has the bucket ``bucket``."""
    client = server.client()
    client.create_bucket(Bucket="bucket")
    yield client
    server.store.clear()
    client.close()
