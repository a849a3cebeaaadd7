"""
Measure what `rerank serve` promises beside its speed, each on a server of its own.

    python benchmarks/serving/promises.py BEIR_FOLDER MODEL_FOLDER [--only overhead fairness restart] [--rounds 15]

- `overhead`: one client, 100 passages: the service beside `CrossEncoderRanker` in this process, in turn.
- `fairness`: a request of 10 passages alone, and beside three clients that send 1,000 passages again and again; batches scored meanwhile.
- `restart`: killed (SIGKILL) while four clients with retries wait for answers, and started again: when it is ready, and what the clients lost.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import httpx
import psutil
from haystack import Document
from load import Pool
from prometheus_client.parser import text_string_to_metric_families
from servers import free_port, running

from rerank_plugin import CrossEncoderRanker

MANY, FEW = 1000, 10


def command(model: Path, port: int) -> list[str]:
    """Return the command line of the server."""
    return [
        *(sys.executable, "-m", "rerank_plugin", "serve", "--port", str(port), "--model", f"default={model}"),
        *("--max-wait", "600"),
    ]


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def told(times: list[float]) -> str:
    """Return median, best and spread in milliseconds."""
    low, _, high = quantiles(times, n=4)
    return f"median {1000 * median(times):,.0f} ms, best {1000 * min(times):,.0f}, quartiles {1000 * low:,.0f} to {1000 * high:,.0f}"


def overhead(pool: Pool, model: Path, rounds: int, log: Path) -> None:
    """The service beside the component."""
    chance = random.Random(1)
    query, texts = pool.queries[0][0], chance.sample(pool.documents, 100)
    documents = [Document(id=str(position), content=text) for position, text in enumerate(texts)]
    ranker = CrossEncoderRanker(model=str(model), top_k=100)
    port = free_port()
    with running(command(model, port), port, log) as (url, _, _), httpx.Client(timeout=600) as client:
        body = {"query": query, "texts": texts}
        calls = {
            "component": lambda: ranker.run(query=query, documents=documents),
            "service": lambda: client.post(f"{url}/rerank", json=body).raise_for_status(),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(rounds + 2):
            for name in sorted(calls, reverse=number % 2 == 1):
                taken = seconds(calls[name])
                if number >= 2:  # the first ones are cold
                    times[name].append(taken)
    for name, values in times.items():
        print(f"overhead: {name}: {told(values)}")
    ratios = [service / component for service, component in zip(times["service"], times["component"], strict=True)]
    print(
        f"overhead: service / component: median of ratios {median(ratios):.3f}, ratio of medians "
        f"{median(times['service']) / median(times['component']):.3f}, of best {min(times['service']) / min(times['component']):.3f}"
    )


def batches(url: str) -> int:
    """Return the number of batches scored so far, from /metrics."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == "rerank_batch_tokens_count"]
    return int(samples[0].value)


def fairness(pool: Pool, model: Path, rounds: int, log: Path) -> None:
    """A small request beside large ones."""
    chance = random.Random(2)
    port = free_port()
    with running(command(model, port), port, log) as (url, _, _):

        def rank(count: int) -> float:
            body = {"query": pool.queries[0][0], "texts": [chance.choice(pool.documents) for _ in range(count)]}
            return seconds(lambda: httpx.post(f"{url}/rerank", json=body, timeout=600).raise_for_status())

        def counted(call: Callable[[], float]) -> tuple[float, int]:
            before = batches(url)
            return call(), batches(url) - before

        def rank_few() -> tuple[float, int]:
            return counted(lambda: rank(FEW))

        alone = [rank_few() for _ in range(rounds + 2)][2:]
        stop = threading.Event()

        def send_many() -> None:
            while not stop.is_set():
                rank(MANY)

        clients = [threading.Thread(target=send_many) for _ in range(3)]
        for client in clients:
            client.start()
        time.sleep(10)
        beside = [rank_few() for _ in range(rounds)]
        # Those that are scored while the counter is read count as if the request had waited for them.
        reading = median(counted(float)[1] for _ in range(rounds))
        stop.set()
        for client in clients:
            client.join()
    for name, measured in (("alone", alone), (f"beside 3 x {MANY}", beside)):
        counts = [count for _, count in measured]
        print(
            f"fairness: {name}: {told([taken for taken, _ in measured])}; batches: {median(counts):g}, at most {max(counts)}"
        )
    print(f"fairness: of these, counted between two readings of the counter without a request: {reading:g}")


def restart(pool: Pool, model: Path, rounds: int, log: Path) -> None:
    """Killed and started again, with clients that try again."""
    port = free_port()
    stop, answered, lost = threading.Event(), [], []

    def keep_asking(number: int) -> None:
        chance = random.Random(number)
        while not stop.is_set():
            body = pool.request(chance)
            for _ in range(120):
                try:
                    reply = httpx.post(f"http://127.0.0.1:{port}/rerank", json=body, timeout=60)
                    if reply.status_code == 200 and len(reply.json()["results"]) == len(body["documents"]):
                        answered.append(number)
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.5)
            else:
                lost.append(number)

    ready: list[float] = []
    clients = [threading.Thread(target=keep_asking, args=(number,)) for number in range(4)]
    with running(command(model, port), port, log) as (_, first, _):
        process = first
        for client in clients:
            client.start()
        for _ in range(min(rounds, 5)):
            time.sleep(5)
            process.send_signal(signal.SIGKILL)
            process.wait()
            began = time.perf_counter()
            with log.open("a") as output:
                process = psutil.Process(subprocess.Popen(command(model, port), stdout=output, stderr=output).pid)
            while not is_warm(f"http://127.0.0.1:{port}"):
                time.sleep(0.05)
            ready.append(time.perf_counter() - began)
        stop.set()
        for client in clients:
            client.join()
        process.terminate()
        process.wait()
    print(f"restart: {len(ready)} kills, ready after {told(ready)}; {len(answered)} requests answered, {len(lost)} lost")


def is_warm(url: str) -> bool:
    """Return whether `/ready` says so."""
    try:
        return httpx.get(f"{url}/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


MEASURED = {"overhead": overhead, "fairness": fairness, "restart": restart}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--only", nargs="+", choices=MEASURED, default=list(MEASURED))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--split", default="test", help="of the judgements; only the texts are used")
    options = parser.parse_args()
    pool = Pool.read(options.folder, options.split)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            MEASURED[name](pool, options.model, options.rounds, Path(folder) / f"{name}.log")


if __name__ == "__main__":
    main()
