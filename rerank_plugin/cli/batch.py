"""The commands `rerank batch index`, `rank` and `mine`: jobs over large files, in blocks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_plugin.cli.app import DEFAULT_INDEX, EmbeddingModelOption, IndexOption, app
from rerank_plugin.cli.printing import echo
from rerank_plugin.cli.progress import progress_bar, quiet_libraries

if TYPE_CHECKING:
    from rerank_plugin.scale.tasks import Task

batch = typer.Typer(
    name="batch",
    help="Jobs over files that one process does not finish: in blocks, resumed where they were killed.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)
app.add_typer(batch)

FilesArgument = Annotated[list[Path], typer.Argument(help="Files of rows: .jsonl or .parquet.", metavar="FILE...")]
OutputOption = Annotated[Path, typer.Option("--output", help="File to write: .jsonl or .parquet.")]
BlockRowsOption = Annotated[int, typer.Option(help="Rows of a block: what is done again if a process is killed.")]
RayOption = Annotated[
    str | None,
    typer.Option(help="Run on a Ray cluster: its address, 'auto' for the one of this machine, 'local' to start one here."),
]
WorkersOption = Annotated[int, typer.Option(help="With --ray: processes that work at the same time.")]
ThreadsOption = Annotated[
    int | None, typer.Option(help="Threads of the model in a process; default: one for each processor, with --ray 1.")
]


@batch.command()
def rank(
    files: FilesArgument,
    output: OutputOption,
    model: Annotated[str | None, typer.Option(help="A bundled name, a folder or a Hub id.")] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = "auto",
    backend: Annotated[str, typer.Option(help="auto, openvino, onnx or torch.")] = "auto",
    block_rows: BlockRowsOption = 1000,
    ray: RayOption = None,
    workers: WorkersOption = 2,
    threads: ThreadsOption = None,
) -> None:
    """
    Score texts for queries.

    A row with 'query' and 'documents' (texts, or objects with 'id' and 'text') gets 'results', best first; a row with
    'query' and 'text' gets 'score'.
    """
    from rerank_plugin.scale.tasks import RankTask
    from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL

    task = RankTask(model or DEFAULT_MODEL, threads=_threads(threads, ray), precision=precision, backend=backend)
    _run(task, files, output, block_rows, ray, workers)


@batch.command()
def mine(
    files: FilesArgument,
    output: OutputOption,
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[str, typer.Option(help="Pipeline that searches: a name or a YAML file.")] = "bm25",
    ranks: Annotated[
        list[str] | None, typer.Option(help="FIRST-LAST:COUNT negatives a positive, as in `rerank mine`; repeatable.")
    ] = None,
    block_rows: BlockRowsOption = 1000,
    ray: RayOption = None,
    workers: WorkersOption = 2,
) -> None:
    """
    Find hard negatives in an index.

    A row with 'query' and 'positives' (texts) gets 'negatives': passages that rank high for the query and are no positives.
    """
    from rerank_plugin.scale.tasks import MineTask
    from rerank_plugin.training.mining.rules import RankWindow

    rules = {"windows": tuple(map(RankWindow.parse, ranks))} if ranks else {}
    _run(MineTask(index, pipeline, rules), files, output, block_rows, ray, workers)


@batch.command()
def index(
    files: FilesArgument,
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[str, typer.Option(help="Indexing pipeline whose embedder is used.")] = "indexing",
    embedding_model: EmbeddingModelOption = None,
    block_rows: BlockRowsOption = 1000,
    ray: RayOption = None,
    workers: WorkersOption = 2,
    threads: ThreadsOption = None,
) -> None:
    """
    Make an index of passages, embedding them in blocks.

    A row is a passage: 'text', and if it has them 'title', '_id' or 'id', and further fields, which become metadata.
    """
    from rerank_plugin.scale.embedding import EmbedTask

    task = EmbedTask(pipeline, embedding_model=embedding_model, threads=_threads(threads, ray))
    _run(task, files, index, block_rows, ray, workers)


def _threads(threads: int | None, ray: str | None) -> int | None:
    return 1 if threads is None and ray is not None else threads


def _run(task: "Task", files: list[Path], output: Path, block_rows: int, ray: str | None, workers: int) -> None:
    with quiet_libraries():
        from rerank_plugin.scale.run import run_job
        from rerank_plugin.scale.workers import Cluster

        threads = getattr(task, "threads", None) or 1
        cluster = None if ray is None else Cluster(ray, workers=workers, processors=threads)
        with progress_bar("Blocks", hidden=False) as progress:
            result = run_job(task, files, output, block_rows=block_rows, cluster=cluster, on_progress=progress)
    again = f" ({result.resumed} of them were done before)" if result.resumed else ""
    echo(f"{result.rows:,} rows in {result.blocks:,} blocks{again}: {output}")
