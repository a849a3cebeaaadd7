"""Small rounds of what `make soak` does in full to a server."""

import httpx
import pytest
from rerank_servers import KEY
from soak.malformed import faults_of
from soak.server_crowd import mixed_up


@pytest.mark.slow
def test_malformed_requests_are_never_the_servers_fault(url):
    with httpx.Client(base_url=url, timeout=30) as client:
        faults = [fault for seed in range(250) for fault in faults_of(client, seed)]
        assert faults == []
        assert client.post("/rerank", json={"query": "fox", "texts": ["a"]}, headers={"Api-Key": KEY}).status_code == 200


@pytest.mark.slow
def test_of_requests_at_once_none_gets_the_answer_of_another(url, ranker):
    assert mixed_up(url, ranker, requests=120) == []
