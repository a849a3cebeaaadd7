"""Blocks of a job on a cluster, with Ray Data: machines that share a file system with the one that started the job."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rerank_plugin.errors import MissingDependencyError
from rerank_plugin.scale.blocks import Block
from rerank_plugin.scale.tasks import Task
from rerank_plugin.scale.workers import BlockWorker, Cluster


def run_on_ray(task: Task, blocks: Sequence[Block], folder: Path, cluster: Cluster, on_block: Callable[[], None]) -> None:
    """
    Do a task for blocks. A block whose process dies is done by another one.

    :param task: The task.
    :param blocks: The blocks.
    :param folder: Where the results are written; the same on all machines.
    :param cluster: The cluster.
    :param on_block: Called for each block that is done.
    """
    try:
        import ray
        from ray.data import DataContext
    except ImportError as error:
        raise MissingDependencyError("Ray is not installed: pip install 'rerank-plugin[ray]'") from error
    was_running = ray.is_initialized()
    if not was_running:
        ray.init(address=None if cluster.address == "local" else cluster.address, log_to_driver=False)
    try:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = 0
        rows = [{"block": {**asdict(block), "file": str(block.file)}} for block in blocks]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Worker,
            fn_constructor_args=(task, folder),
            compute=ray.data.ActorPoolStrategy(size=min(cluster.workers, len(rows))),
            num_cpus=cluster.processors,
            max_restarts=-1,
            max_task_retries=-1,
        )
        for _ in done.iter_rows():
            on_block()
    finally:
        if not was_running:
            ray.shutdown()


class _Worker:
    """
    Does blocks in a process of the cluster.

    :param task: The task.
    :param folder: Where the results are written.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self._worker = BlockWorker(task, folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do a block; returns its number."""
        plain = row["block"]
        block = Block(**{**plain, "file": Path(plain["file"])})
        self._worker(block)
        return {"block": block.number}
