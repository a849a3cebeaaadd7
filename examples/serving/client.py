"""A client of twenty lines: it tries again when the server is busy, and says why when it cannot."""

import time

import httpx


def rerank(url: str, query: str, texts: list[str], *, key: str = "", tries: int = 5) -> list[tuple[float, str]]:
    """Return the texts with their scores, best first."""
    for attempt in range(1, tries + 1):
        answer = httpx.post(
            f"{url}/rerank",
            json={"query": query, "texts": texts},
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=60,
        )
        if answer.status_code != httpx.codes.TOO_MANY_REQUESTS or attempt == tries:
            break
        time.sleep(float(answer.headers["Retry-After"]))
    if answer.is_error:
        raise RuntimeError(answer.json()["message"])
    return [(result["score"], texts[result["index"]]) for result in answer.json()]
