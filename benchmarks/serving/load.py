"""
Open-loop load on a rerank server: requests arrive as in life, whether or not the server keeps up.

    python benchmarks/serving/load.py http://127.0.0.1:8787 BEIR_FOLDER --rate 4 --seconds 60

Arrivals are a Poisson process. Each request has a real query of a BEIR collection and 5 to 50 of its documents, judged ones among them, in the
shape that Cohere, Jina, vLLM and Infinity share (`POST /rerank`). Goodput counts requests that were answered whole within the deadline.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx

from rerank_plugin.collections.beir import BeirDataset

FEWEST_DOCUMENTS, MOST_DOCUMENTS = 5, 50


@dataclass(frozen=True)
class Pool:
    """Queries with judged documents, and all documents to fill requests up with."""

    queries: Sequence[tuple[str, Sequence[str]]]
    documents: Sequence[str]

    @classmethod
    def read(cls, folder: Path, split: str) -> "Pool":
        """Read a split of a BEIR folder."""
        dataset = BeirDataset(folder)
        texts = {document.id: document.text for document in dataset.documents()}
        queries, qrels = dataset.queries(split), dataset.qrels(split)
        return cls(
            [
                (query.text, [texts[document] for document in qrels[query.id] if document in texts])
                for query in queries.values()
            ],
            list(texts.values()),
        )

    def request(self, chance: random.Random) -> dict[str, Any]:
        """Return the body of a request."""
        query, judged = chance.choice(self.queries)
        count = chance.randint(FEWEST_DOCUMENTS, MOST_DOCUMENTS)
        documents = [*judged[:count], *chance.sample(self.documents, max(0, count - len(judged)))]
        chance.shuffle(documents)
        return {"query": query, "documents": documents, "model": "default"}


@dataclass(frozen=True)
class Reply:
    """How a request ended: its HTTP status, 0 for a broken connection, and the seconds from arrival to answer."""

    status: int
    seconds: float
    is_whole: bool


@dataclass(frozen=True)
class Load:
    """
    What a run measured. Times in milliseconds, of answered requests.

    :param offered: Requests a second that arrived.
    :param goodput: Requests a second that were answered whole within the deadline.
    """

    offered: float
    goodput: float
    answered: int
    late: int
    rejected: int
    failed: int
    p50: float
    p95: float
    p99: float


async def send(client: httpx.AsyncClient, url: str, body: dict[str, Any], timeout: float) -> Reply:
    """Send a request."""
    began = time.perf_counter()
    try:
        response = await client.post(f"{url}/rerank", json=body, timeout=timeout)
        is_whole = response.status_code == 200 and len(response.json()["results"]) == len(body["documents"])
        return Reply(response.status_code, time.perf_counter() - began, is_whole)
    except (httpx.HTTPError, ValueError, KeyError):
        return Reply(0, time.perf_counter() - began, False)


def new_client() -> httpx.AsyncClient:
    """Return a client that opens as many connections as it needs."""
    return httpx.AsyncClient(limits=httpx.Limits(max_connections=None, max_keepalive_connections=50))


async def capacity(url: str, pool: Pool, *, callers: int, seconds: float, seed: int) -> float:
    """Return the requests a second that are answered when a few callers send one after the other."""
    answered = 0
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        nonlocal answered
        chance = random.Random(seed + number)
        while time.perf_counter() < end:
            reply = await send(client, url, pool.request(chance), timeout=60)
            answered += reply.is_whole

    began = time.perf_counter()
    async with new_client() as client:
        await asyncio.gather(*(caller(number) for number in range(callers)))
    return answered / (time.perf_counter() - began)


async def offer(url: str, pool: Pool, *, rate: float, seconds: float, deadline: float, seed: int) -> Load:
    """Let requests arrive at a rate, and wait until the last one has ended."""
    chance = random.Random(seed)
    tasks: list[asyncio.Task[Reply]] = []
    began = time.perf_counter()
    due = began
    async with new_client() as client:
        while (due := due + chance.expovariate(rate)) < began + seconds:
            body = pool.request(chance)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(send(client, url, body, timeout=10 * deadline)))
        replies = await asyncio.gather(*tasks)
    return summary(replies, seconds=seconds, deadline=deadline)


def summary(replies: Sequence[Reply], *, seconds: float, deadline: float) -> Load:
    """Return the measures of a run."""
    answered = [reply for reply in replies if reply.is_whole]
    in_time = [reply for reply in answered if reply.seconds <= deadline]
    statuses = Counter(reply.status for reply in replies)
    times = [1000 * reply.seconds for reply in answered]
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else [*times, *[float("nan")] * 99][:1] * 99
    return Load(
        offered=len(replies) / seconds,
        goodput=len(in_time) / seconds,
        answered=len(answered),
        late=len(answered) - len(in_time),
        rejected=statuses[429] + statuses[503],
        failed=len(replies) - len(answered) - statuses[429] - statuses[503],
        p50=cuts[49],
        p95=cuts[94],
        p99=cuts[98],
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="test", help="of its judgements; only the texts are used")
    parser.add_argument("--rate", type=float, help="requests a second; without it the capacity is measured")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pool = Pool.read(options.folder, options.split)
    if options.rate is None:
        found = asyncio.run(capacity(options.url, pool, callers=4, seconds=options.seconds, seed=options.seed))
        json.dump({"capacity": found}, sys.stdout)
    else:
        run = offer(
            options.url, pool, rate=options.rate, seconds=options.seconds, deadline=options.deadline, seed=options.seed
        )
        json.dump(asdict(asyncio.run(run)), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
