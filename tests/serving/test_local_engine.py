"""The engine of one model, without HTTP."""

import asyncio
import shutil
import ssl
import subprocess

import httpx
import pytest
from conftest import write_cross_encoder
from rerank_servers import LIMITS, FullEngine, local_engine, running

from rerank_plugin.errors import ModelError, OverloadedError
from rerank_plugin.serving.engine import RankRequest
from rerank_plugin.serving.settings import ServerSettings


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A model whose scores are no numbers."""
    from transformers import BertForSequenceClassification

    folder = write_cross_encoder(tmp_path_factory.mktemp("damaged") / "model")
    model = BertForSequenceClassification.from_pretrained(folder)
    model.classifier.bias.data.fill_(float("nan"))
    model.save_pretrained(folder)
    return folder


def test_if_scoring_fails_the_order_of_the_request_is_kept_and_that_is_said(damaged):
    engine = local_engine(damaged, on_error="keep_order")
    result = asyncio.run(engine.rank(RankRequest("fox", ["a", "b", "c"], top_n=2)))
    assert (result.state, result.scored) == ("fallback", 0)
    assert [(text.index, text.score, text.is_scored) for text in result.ranked] == [(0, 0.0, False), (1, 0.0, False)]
    engine.close()


def test_or_it_is_an_error(damaged):
    engine = local_engine(damaged)
    with pytest.raises(ModelError, match="its weights are damaged"):
        asyncio.run(engine.rank(RankRequest("fox", ["a"])))
    assert engine.waiting == 0
    engine.close()


def test_what_an_engine_observes_ends_with_it(cross_encoder):
    """The queue of the process goes on: other models use it."""
    engine, other, told = local_engine(cross_encoder), local_engine(cross_encoder), []
    engine.observe(told.append)
    engine.warm_up()
    before = len(told)
    assert before > 0
    engine.close()
    asyncio.run(other.rank(RankRequest("fox", ["a"])))
    other.close()
    assert len(told) == before


def test_what_is_too_much_is_refused_and_what_waits_is_answered(cross_encoder):
    engine = local_engine(cross_encoder, max_waiting=5)

    async def ask():
        asked = [engine.rank(RankRequest("fox", ["a", "b"])) for _ in range(9)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    assert [type(answer) for answer in answers[5:]] == [OverloadedError] * 4
    assert all(answer.state == "complete" for answer in answers[:5])
    assert engine.waiting == 0
    engine.close()


def test_a_score_request_with_more_queries_than_may_wait_is_answered(cross_encoder):
    with running({"tiny": local_engine(cross_encoder, max_waiting=9)}, keys=()) as url:
        texts = [f"fox {n}" for n in range(40)]
        answer = httpx.post(f"{url}/score", json={"text_1": texts, "text_2": texts}, timeout=60)
    assert len(answer.json()["data"]) == 40


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_https(tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split()
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    settings = ServerSettings(port=0, limits=LIMITS, tls_certificate=certificate, tls_key=key)
    with running({"tiny": FullEngine()}, settings=settings, verify=ssl.create_default_context(cafile=certificate)) as url:
        assert url.startswith("https://")
        assert httpx.get(f"{url}/health", verify=ssl.create_default_context(cafile=certificate)).status_code == 200
