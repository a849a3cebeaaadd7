"""Fixtures for the tests of `rerank serve`; one server for all of them. Everything is imported when it is used."""

import pytest


@pytest.fixture(scope="session")
def url(cross_encoder):
    """Address of a server with a real, tiny model, and with keys."""
    from rerank_servers import local_engine, running

    with running({"tiny": local_engine(cross_encoder)}) as address:
        yield address


@pytest.fixture(scope="session")
def full_url():
    """Address of a server that refuses everything, as it has too much to do."""
    from rerank_servers import FullEngine, running

    with running({"tiny": FullEngine()}) as address:
        yield address


@pytest.fixture(scope="session")
def http(url):
    """A client with the right key."""
    import httpx
    from rerank_servers import KEY

    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def ranker(cross_encoder):
    """What the server is compared with."""
    from rerank_plugin import CrossEncoderRanker

    with CrossEncoderRanker(model=str(cross_encoder), backend="torch", top_k=1000) as ranker:
        yield ranker
