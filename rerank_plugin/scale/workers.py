"""What works on the blocks of a job, in this process or in those of a cluster."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_plugin.checks import check_count
from rerank_plugin.scale.blocks import Block, read_block
from rerank_plugin.scale.job import part_of
from rerank_plugin.scale.tasks import Task


@dataclass(frozen=True)
class Cluster:
    """
    Where blocks run, if not in this process.

    :param address: Address of a Ray cluster; `auto`: that of this machine, `local`: one that is started for the job.
    :param workers: Processes that work at the same time.
    :param processors: Processors of each.
    """

    address: str = "auto"
    workers: int = 2
    processors: int = 1

    def __post_init__(self) -> None:
        check_count("workers", self.workers)
        check_count("processors", self.processors)


class BlockWorker:
    """
    Does a task for blocks, one after the other.

    :param task: The task; what it needs is loaded here.
    :param folder: Where the results are written.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self._task, self._folder = task, folder
        self._work: Callable[..., Any] = task.open()

    def __call__(self, block: Block) -> None:
        """Do a block, and write its result."""
        result = self._work(read_block(block), f"{block.file}, after row {block.first_row}")
        self._task.write(part_of(self._folder, block, self._task.suffix), result)
