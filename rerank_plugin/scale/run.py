"""Running a job: its blocks in this process or on a cluster, each done once, and then the output."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rerank_plugin.checks import check_count
from rerank_plugin.files import fingerprint_files
from rerank_plugin.progress import CountCallback
from rerank_plugin.scale.blocks import plan_blocks
from rerank_plugin.scale.embedding import EmbedTask, write_index
from rerank_plugin.scale.job import JobFolder, merge_rows
from rerank_plugin.scale.ray_data import run_on_ray
from rerank_plugin.scale.tasks import Task
from rerank_plugin.scale.workers import BlockWorker, Cluster

BLOCK_ROWS = 1000


@dataclass(frozen=True)
class JobResult:
    """
    What a job did.

    :param rows: Rows of all blocks.
    :param blocks: Number of blocks.
    :param resumed: Blocks that an earlier run had done.
    """

    rows: int
    blocks: int
    resumed: int


def run_job(
    task: Task,
    files: Sequence[Path],
    output: Path,
    *,
    block_rows: int = BLOCK_ROWS,
    cluster: Cluster | None = None,
    on_progress: CountCallback | None = None,
) -> JobResult:
    """
    Do a task for all rows of files.

    The output depends on rows, task and `block_rows` alone: not on how often the job was killed and repeated, nor on where
    its blocks ran.

    :param task: The task.
    :param files: The files, JSON Lines or Parquet.
    :param output: The output: a file of JSON Lines or Parquet, or an index for `EmbedTask`.
    :param block_rows: Rows of a block: what is done again at most, if a process is killed.
    :param cluster: Where the blocks run; `None`: in this process.
    :param on_progress: Called with blocks done, and all blocks.
    :returns: What was done.
    :raises InputFileError: If a file or a row cannot be used.
    :raises InvalidValueError: If the output belongs to something else.
    """
    check_count("block_rows", block_rows)
    blocks = plan_blocks(files, block_rows)
    job = JobFolder(output, {**task.settings(), "inputs": fingerprint_files(files), "block_rows": block_rows})
    rows = sum(block.rows for block in blocks)
    if job.is_done:
        return JobResult(rows, len(blocks), len(blocks))
    missing = job.missing(blocks, task.suffix)
    resumed = len(blocks) - len(missing)
    done = resumed

    def count(number: int = 1) -> None:
        nonlocal done
        done += number
        if on_progress is not None:
            on_progress(done, len(blocks))

    count(0)
    if missing and cluster is not None:
        run_on_ray(task, missing, job.folder, cluster, count)
    elif missing:
        work = BlockWorker(task, job.folder)
        for block in missing:
            work(block)
            count()
    if isinstance(task, EmbedTask):
        write_index(job, blocks)
    else:
        merge_rows(job, blocks)
    job.finish()
    return JobResult(rows, len(blocks), resumed)
