import os
from unittest import mock

import pytest

from tests.object_server import missing, object_server


@pytest.fixture(scope="session")
def server():
    """A real S3 server."""
    if name := missing():
        pytest.skip(f"{name} is not installed: pip install 'bagoftricks[test]'")
    with mock.patch.dict(os.environ), object_server() as running:
        yield running
