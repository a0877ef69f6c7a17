"""Requests that schemathesis makes up from the OpenAPI document: none causes a failure of the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from overheard.web.api import openapi
from web_fakes import TRACK, WebServer, web_server, write_history

pytestmark = pytest.mark.slow

EXAMPLES = 25  # of each operation
_DOCUMENT = openapi()
del _DOCUMENT["paths"]["/api/v1/events"]  # it does not end
SCHEMA = schemathesis.openapi.from_dict(_DOCUMENT)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("data")
    now = time.time()
    write_history(folder, [(TRACK, now - 100.0 * number) for number in range(40)], [(1, now), (2, now)])
    with web_server(Path(folder)) as server:
        yield server
        assert server.process.poll() is None


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_made_up_requests_get_the_answers_that_the_document_promises(
    case: schemathesis.Case, web: WebServer
) -> None:
    case.call_and_validate(base_url=web.url)
