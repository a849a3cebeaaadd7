"""
Throughput of Ray Serve replicas with one thread each, beside one `rerank serve` with as many threads, in turn.

    python benchmarks/serving/replicas.py BEIR_FOLDER [--model FOLDER] [--replicas 2] [--clients 4] [--rounds 5] [--seconds 20]

Each client sends requests of 100 passages, one after the other. Both are started and warm before the first round; the one that is not
measured has nothing to do. Needs the extras `serve` and `ray`.
"""

import argparse
import os
import random
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx
from load import Pool
from promises import command
from servers import free_port, is_ready, running

from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL, resolve_model

PASSAGES = 100
START_SECONDS = 300


@contextmanager
def replicas(model: Path, number: int) -> Iterator[str]:
    """Deploy replicas on a cluster of this machine; yields their address."""
    os.environ["RAY_AUTH_MODE"] = "disabled"  # otherwise Ray writes a token into the home folder
    warnings.simplefilter("ignore")
    import ray
    from ray import serve

    from rerank_plugin.scale.service import ServiceSettings, build

    port = free_port()
    ray.init(num_cpus=number + 1, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(ServiceSettings(model=str(model), name="default", replicas=number, threads=1, max_wait=600)))
        url, began = f"http://127.0.0.1:{port}", time.monotonic()
        while not is_ready(url):
            if time.monotonic() - began > START_SECONDS:
                raise SystemExit("the replicas did not start")
            time.sleep(0.2)
        yield url
    finally:
        serve.shutdown()
        ray.shutdown()


def passages_per_second(url: str, pool: Pool, clients: int, seconds: float, seed: int) -> float:
    """Return how many passages are scored in a second while clients send requests without a pause."""
    answered, end = [0] * clients, time.monotonic() + seconds
    began = time.monotonic()

    def send(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        with httpx.Client(timeout=600) as client:
            while time.monotonic() < end:
                body = {"query": chance.choice(pool.queries)[0], "texts": chance.sample(pool.documents, PASSAGES)}
                client.post(f"{url}/rerank", json=body).raise_for_status()
                answered[number] += PASSAGES

    threads = [threading.Thread(target=send, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered) / (time.monotonic() - began)


def main() -> None:
    """Start both, and measure them in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    pool, model, port = Pool.read(options.collection, options.split), Path(resolve_model(options.model)), free_port()
    figures: dict[str, list[float]] = {"one process": [], "replicas": []}
    with (
        tempfile.TemporaryDirectory() as temporary,
        running([*command(model, port), "--threads", str(options.replicas)], port, Path(temporary) / "log") as (own, _, _),
        replicas(model, options.replicas) as ray,
    ):
        urls = {"one process": own, "replicas": ray}
        for number in range(options.rounds + 1):
            for name in sorted(urls, reverse=number % 2 == 1):
                figure = passages_per_second(urls[name], pool, options.clients, options.seconds, number)
                if number:  # the first round is cold
                    figures[name].append(figure)
    for name, values in figures.items():
        print(f"{name}: passages a second: median {median(values):.0f}, least {min(values):.0f}, most {max(values):.0f}")
    print(f"replicas / one process: {median(figures['replicas']) / median(figures['one process']):.2f}")


if __name__ == "__main__":
    main()
