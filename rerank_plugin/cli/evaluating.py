"""`rerank eval`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_plugin.checks import shown
from rerank_plugin.cli.app import EmbeddingModelOption, JsonOption, QueryLanguageOption, app
from rerank_plugin.cli.printing import echo, to_json
from rerank_plugin.cli.progress import progress_bars, quiet_libraries
from rerank_plugin.errors import InvalidValueError

if TYPE_CHECKING:
    from rerank_plugin.evaluation.request import EvalRequest


@app.command("eval")
def evaluate(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="Collection: a folder in BEIR layout, an index with judgements (`rerank judge`), or irds:ID for "
            "ir_datasets. Without it, pass --run and --qrels."
        ),
    ] = None,
    pipeline: Annotated[
        list[str] | None, typer.Option(help="Name or YAML file; repeatable, to compare several. Default: bm25, bm25_rerank.")
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(help="Also compare a run in trec_eval's format, as FILE or NAME=FILE; repeatable."),
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Judgements (in trec_eval's or BEIR's format) to use instead of the collection's.")
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder for the report, runs and results; an interrupted evaluation is resumed from it."
        ),
    ] = Path("eval"),
    index: Annotated[
        Path | None,
        typer.Option("--index", help="Folder of an index; default: the collection is indexed, and the index is cached."),
    ] = None,
    split: Annotated[str, typer.Option(help="Judgements to use: qrels/SPLIT.tsv; of an index: dev, test or all.")] = "test",
    language: QueryLanguageOption = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N judged queries.")] = None,
    candidates: Annotated[int, typer.Option(help="Number of first-stage candidates, and depth of the rankings.")] = 100,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Measure in ir-measures' notation, such as nDCG@10; repeatable. The first is plotted."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Compare all systems with this one only; default: with the first system, and each reranking pipeline also "
            "with its own first stage."
        ),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Try settings of one pipeline's second stage instead, and recommend one."),
    ] = False,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="Settings for --sweep: candidates=10,50 precision=auto,int8 windows=max,truncate fusion=none,rrf:0.5."
        ),
    ] = None,
    embedding_model: EmbeddingModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Compare pipelines: quality, significance, cost and latency, with a report on the gain of the second stage.

    The report (report.html, report.md) has plots, and both rankings of the queries that gained or lost most.

    Choose settings on a dev split; use the test split only once.
    """
    if grid and not sweep:
        raise InvalidValueError("--grid sets what --sweep tries: pass both")
    with quiet_libraries():
        from rerank_plugin.evaluation.measures import DEFAULT_MEASURES
        from rerank_plugin.evaluation.output_folder import reserve_folder
        from rerank_plugin.evaluation.report.write import check_report_packages
        from rerank_plugin.evaluation.request import DEFAULT_PIPELINES, EvalRequest

        defaults = ["bm25_rerank"] if sweep else [] if run else DEFAULT_PIPELINES
        request = EvalRequest(
            dataset=dataset,
            pipelines=pipeline or defaults,
            runs=_named_files(run or []),
            qrels=qrels,
            index=index,
            split=split,
            language=language,
            limit=limit,
            candidates=candidates,
            measures=measure or DEFAULT_MEASURES,
            baseline=baseline,
            embedding_model=embedding_model,
            output=output,
        )
        check_report_packages()
        with reserve_folder(output):
            if sweep:
                _sweep(request, grid or [], output, as_json=as_json)
            else:
                _evaluate(request, output, as_json=as_json)


def _evaluate(request: "EvalRequest", output: Path, *, as_json: bool) -> None:
    from rerank_plugin.cli.tables import show_evaluation
    from rerank_plugin.evaluation.report.write import as_json as plain
    from rerank_plugin.evaluation.report.write import write_report
    from rerank_plugin.evaluation.run import run_evaluation

    with progress_bars(hidden=as_json) as on_progress:
        result = run_evaluation(request, on_progress=on_progress)
        on_progress("Writing the report", 0, 1)
        files = write_report(result, output)
    if as_json:
        echo(to_json(plain(result)))
    else:
        show_evaluation(result)
        for name, remark in result.remarks.items():
            echo(f"note: {name} is {remark}")
        echo(f"report: {', '.join(map(str, files))}")
    if result.failures:
        name, first = result.failures[0]
        echo(
            f"error: {len(result.failures)} queries failed and count as 0; the first: {name}, {first.query}: {first.error}",
            err=True,
        )
        raise typer.Exit(1)


def _sweep(request: "EvalRequest", grid: list[str], output: Path, *, as_json: bool) -> None:
    from rerank_plugin.cli.tables import show_sweep
    from rerank_plugin.evaluation.grid import Grid
    from rerank_plugin.evaluation.report.sweep import sweep_as_json, write_sweep
    from rerank_plugin.evaluation.sweep import run_sweep

    parsed = Grid.parse(grid)
    with progress_bars(hidden=as_json) as on_progress:
        result = run_sweep(request, parsed, on_progress=on_progress)
        files = write_sweep(result, output)
    if as_json:
        echo(to_json(sweep_as_json(result)))
    else:
        show_sweep(result)
        echo(f"report: {', '.join(map(str, files))}")


def _named_files(texts: list[str]) -> dict[str, Path]:
    """Parse the values of --run: FILE, or NAME=FILE."""
    files: dict[str, Path] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        path = Path(file if equals else text)
        if not os.path.isfile(path):  # noqa: PTH113 - unlike Path.is_file it takes any text, of any length
            label = str(path) if str(path).isprintable() and len(text) < 1000 else shown(text)
            raise InvalidValueError(f"--run: {label} does not exist; write FILE or NAME=FILE")
        name = name if equals else path.stem
        if name in files:
            raise InvalidValueError(f"--run {shown(text)}: two systems have the same name, {shown(name)}: write NAME=FILE")
        files[name] = path
    return files
