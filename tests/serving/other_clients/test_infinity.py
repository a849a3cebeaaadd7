"""infinity_client against a running server."""

import json
import os

import pytest

infinity_client = pytest.importorskip("infinity_client")
if "RERANK_URL" not in os.environ:
    pytest.skip("`make test-clients` runs this beside a server", allow_module_level=True)

from infinity_client import AuthenticatedClient  # noqa: E402
from infinity_client.api.default import rerank  # noqa: E402
from infinity_client.models import HTTPValidationError, RerankInput  # noqa: E402

URL, KEY = os.environ["RERANK_URL"], os.environ["RERANK_KEY"]
QUERY, TEXTS, BEST = (json.loads(os.environ["RERANK_EXPECTED"])[name] for name in ("query", "texts", "best"))


def ask(texts, *, url=URL, key=KEY):
    client = AuthenticatedClient(base_url=f"{url}/infinity", token=key)
    return rerank.sync_detailed(client=client, body=RerankInput(query=QUERY, documents=texts, model="any"))


def test_ranks():
    answer = ask(TEXTS).parsed
    assert [result.index for result in answer.results] == BEST
    assert answer.usage.total_tokens > 0
    assert answer.model == "tiny"


@pytest.mark.parametrize("texts", [[], ["fox " * 3000]], ids=["empty", "too long"])
def test_a_wrong_request_is_its_own_validation_error(texts):
    answer = ask(texts)
    assert answer.status_code == 422
    assert isinstance(answer.parsed, HTTPValidationError)
    assert answer.parsed.detail[0].loc[0] == "body"


def test_wrong_key_and_overload():
    assert ask(TEXTS, key="wrong").status_code == 401
    assert ask(TEXTS, url=os.environ["RERANK_FULL_URL"]).status_code == 429
