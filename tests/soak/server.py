"""A running server under 10,000 malformed requests, and 2,000 at once whose texts name themselves."""

import logging
from pathlib import Path

import httpx
from conftest import write_cross_encoder
from rerank_servers import local_engine, running
from soak.malformed import faults_of
from soak.report import Report, Size
from soak.server_crowd import mixed_up

from rerank_plugin import CrossEncoderRanker

MALFORMED, AT_ONCE = 10_000, 2_000


def run(size: Size, folder: Path) -> Report:
    """Attack a server with a tiny model."""
    report = Report("server", "requests")
    logging.disable(logging.INFO)  # a line for every request
    model = write_cross_encoder(folder / "model")
    with running({"tiny": local_engine(model)}) as url, CrossEncoderRanker(model=str(model), backend="torch") as ranker:
        with httpx.Client(base_url=url, timeout=60) as client:
            before = _memory(client)
            for seed in size.seeds(MALFORMED):
                for fault in faults_of(client, seed):
                    report.fail(f"malformed seed {seed}", fault)
                report.tried += 1
            report.figures["resident megabytes before and after"] = f"{before:.0f}, {_memory(client):.0f}"
        requests = size.of(AT_ONCE)
        for fault in mixed_up(url, ranker, requests=requests, seed=size.seed):
            report.fail(f"crowd seed {size.seed}", fault)
        report.tried += requests
    logging.disable(logging.NOTSET)
    return report


def _memory(client: httpx.Client) -> float:
    from rerank_servers import KEY

    metrics = client.get("/metrics", headers={"Api-Key": KEY}).text.splitlines()
    (line,) = [line for line in metrics if line.startswith("process_resident_memory_bytes ")]
    return float(line.split()[1]) / 1e6
