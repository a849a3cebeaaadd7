"""The service and the jobs on a Ray cluster of this machine. `make test-scale` runs all; the suite one of them."""

import contextlib
import json
import os
import random
import signal
import socket
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from conftest import SENTENCES, write_cross_encoder

from rerank_plugin import rank
from rerank_plugin.scale.run import run_job
from rerank_plugin.scale.tasks import RankTask
from rerank_plugin.scale.workers import Cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own warnings are many
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray"),
]
# Ray is imported in the tests: it takes seconds.
REPLICAS = "rank-replicas"
QUERY = "what is the capital of germany"


@pytest.fixture(scope="module")
def cluster(repository):
    """A cluster of this machine, whose processes find the package and the tests' cache of converted models."""
    # Ray reads it when it is imported. Otherwise it writes a token into the home folder.
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        from ray import serve
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    paths = os.pathsep.join([str(repository), str(repository / "tests")])
    variables = {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "RERANK_PLUGIN_CACHE": os.environ["RERANK_PLUGIN_CACHE"]}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": variables})
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.address = f"http://127.0.0.1:{port}"
    yield serve
    serve.shutdown()
    ray.shutdown()


def deploy(serve, model, **changed):
    from rerank_plugin.scale.service import ServiceSettings, build

    settings = {"model": str(model), "name": "tiny", "backend": "torch", "replicas": 2, **changed}
    serve.run(build(ServiceSettings(**settings)), name="rerank")


@pytest.fixture(scope="module")
def url(cluster, cross_encoder):
    deploy(cluster, cross_encoder)
    with httpx.Client(base_url=cluster.address, timeout=60) as client:
        while client.get("/ready").status_code != 200:
            time.sleep(0.1)
    return cluster.address


def pids_of(title):
    """Return the processes of the cluster with a title: Ray's own list of them needs its dashboard."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if title in line.read_text(errors="replace"):
                found.append(int(line.parent.name))
    return found


def replica_pids():
    return pids_of(f"ray::ServeReplica:rerank:{REPLICAS}")


class Load:
    """Sends requests from several threads until it is told to stop, and keeps the statuses."""

    def __init__(self, url, *, threads=6):
        self.statuses, self._stop = [], threading.Event()
        self._pool = ThreadPoolExecutor(threads)
        self._url = url
        self._running = [self._pool.submit(self._send, n) for n in range(threads)]

    def _send(self, seed):
        rng = random.Random(seed)
        with httpx.Client(base_url=self._url, timeout=120) as client:
            while not self._stop.is_set():
                texts = rng.choices(SENTENCES, k=rng.randrange(1, 9))
                answer = client.post("/rerank", json={"query": QUERY, "texts": texts})
                if answer.status_code == 200:
                    assert sorted(each["index"] for each in answer.json()) == list(range(len(texts)))
                self.statuses.append(answer.status_code)

    def wait_for(self, count):
        wanted = len(self.statuses) + count
        while len(self.statuses) < wanted and not any(each.done() for each in self._running):
            time.sleep(0.02)

    def stop(self):
        self._stop.set()
        for each in self._running:
            each.result()
        self._pool.shutdown()


def test_two_replicas_answer_like_one_process(cluster, url, cross_encoder):
    own = rank(QUERY, SENTENCES, model=cross_encoder, backend="torch")
    with httpx.Client(base_url=url, timeout=60) as client:
        answer = client.post("/v2/rerank", json={"query": QUERY, "documents": SENTENCES, "model": "tiny"})
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert [each["index"] for each in results] == [each.index for each in own]
        assert [each["relevance_score"] for each in results] == pytest.approx([each.score for each in own], abs=1e-4)
        assert client.post("/v2/rerank", json={"query": " ", "documents": ["a"]}).status_code == 400
        assert client.get("/info").json()["model_dtype"]
    assert len(replica_pids()) == 2


@pytest.mark.scale
def test_a_replica_killed_under_load_fails_no_request(cluster, url):
    load = Load(url)
    for _ in range(3):
        load.wait_for(40)
        os.kill(random.Random(1).choice(replica_pids()), signal.SIGKILL)
        load.wait_for(80)
    load.stop()
    assert set(load.statuses) == {200}
    assert len(load.statuses) >= 300


@pytest.mark.scale
def test_a_new_model_is_rolled_out_without_a_failed_request(cluster, url, tmp_path):
    other = write_cross_encoder(tmp_path / "other", seed=11)
    expected = [each.index for each in rank(QUERY, SENTENCES, model=other, backend="torch")]
    load = Load(url)
    load.wait_for(40)
    deploy(cluster, other)
    load.wait_for(40)
    load.stop()
    assert set(load.statuses) == {200}
    with httpx.Client(base_url=url, timeout=60) as client:
        for _ in range(8):
            answer = client.post("/v2/rerank", json={"query": QUERY, "documents": SENTENCES})
            assert [each["index"] for each in answer.json()["results"]] == expected


@pytest.mark.scale
def test_too_much_is_refused_with_429_and_the_time_to_come_again(cluster, cross_encoder):
    deploy(cluster, cross_encoder, replicas=1, max_waiting=1)

    def send(n):
        return httpx.post(f"{cluster.address}/rerank", json={"query": QUERY, "texts": SENTENCES * 100}, timeout=300)

    with ThreadPoolExecutor(150) as pool:
        answers = list(pool.map(send, range(300)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)


@pytest.mark.scale
def test_twenty_thousand_pairs_killed_and_resumed_give_the_same_file(cluster, cross_encoder, tmp_path):
    rng = random.Random(5)
    file = tmp_path / "pairs.jsonl"
    rows = [{"n": n, "query": QUERY, "text": " ".join(rng.choices(SENTENCES, k=2))} for n in range(20_000)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = RankTask(str(cross_encoder), threads=1, backend="torch")
    run_job(task, [file], tmp_path / "here.jsonl", block_rows=500)

    killed = threading.Event()

    def kill_a_worker(done, total):
        if done >= 8 and not killed.is_set():
            killed.set()
            os.kill(pids_of("ray::MapWorker")[0], signal.SIGKILL)

    class InterruptedJobError(Exception):
        pass

    def interrupt(done, total):
        if done >= 4:
            raise InterruptedJobError

    with pytest.raises(InterruptedJobError):
        run_job(task, [file], tmp_path / "there.jsonl", block_rows=500, cluster=Cluster(workers=2), on_progress=interrupt)
    result = run_job(
        task, [file], tmp_path / "there.jsonl", block_rows=500, cluster=Cluster(workers=2), on_progress=kill_a_worker
    )
    assert result.resumed >= 4
    assert killed.is_set()
    assert (tmp_path / "there.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
