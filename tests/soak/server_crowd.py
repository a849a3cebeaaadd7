"""Many requests at once, whose texts name themselves: an answer that belongs to another request shows."""

import asyncio
import math
import random

import httpx
from rerank_servers import KEY

WORDS = "capital river mountain coffee tea bread dog cat fox bird blue red green sky sea sun moon star".split()
PATHS = ("/rerank", "/v2/rerank", "/v1/rerank", "/voyage/v1/rerank", "/score")


def scores_of(path, answer):
    """Return the scores by index, in the words of the protocol."""
    if path == "/rerank":
        return {item["index"]: item["score"] for item in answer}
    if path == "/score":
        return {item["index"]: item["score"] for item in answer["data"]}
    items = answer["data"] if "voyage" in path else answer["results"]
    return {item["index"]: item["relevance_score"] for item in items}


def body_of(path, query, texts):
    if path == "/rerank":
        return {"query": query, "texts": texts}
    return {"text_1": query, "text_2": texts} if path == "/score" else {"query": query, "documents": texts}


def mixed_up(url, ranker, *, requests, seed=0, at_once=100) -> list[str]:
    """
    Send requests, and return what was wrong with their answers.

    :param url: The server, which has the ranker's model.
    :param ranker: What says which score a text has.
    :param requests: How many.
    :param seed: Of what is sent.
    :param at_once: How many wait at the same time.
    """
    choose = random.Random(seed)
    # Few queries and texts, so that the ranker has scored all pairs before; each text occurs in many requests.
    queries = [" ".join(choose.choices(WORDS, k=4)) for _ in range(12)]
    texts = [f"{number} {' '.join(choose.choices(WORDS, k=choose.randint(1, 30)))}" for number in range(60)]
    known = {query: ranker.logits(query, texts) for query in queries}
    sent = [
        (choose.choice(PATHS), choose.choice(queries), choose.sample(range(len(texts)), choose.randint(1, 20)))
        for _ in range(requests)
    ]
    wrong: list[str] = []

    async def ask(client, free, path, query, places):
        async with free:
            answer = await client.post(path, json=body_of(path, query, [texts[place] for place in places]))
        if answer.status_code != 200:
            wrong.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            return
        found = scores_of(path, answer.json())
        expected = {i: 1 / (1 + math.exp(-known[query][place])) for i, place in enumerate(places)}
        if found.keys() != expected.keys() or any(abs(found[i] - expected[i]) > 1e-6 for i in found):
            wrong.append(f"{path} {query!r} {places}: {found} instead of {expected}")

    async def ask_all():
        free = asyncio.Semaphore(at_once)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=300) as client:
            await asyncio.gather(*(ask(client, free, *request) for request in sent))

    asyncio.run(ask_all())
    return wrong
