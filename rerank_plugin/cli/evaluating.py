"""`rerank eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_plugin.cli.app import EmbeddingModelOption, JsonOption, app
from rerank_plugin.cli.printing import echo, to_json
from rerank_plugin.cli.progress import progress_bars, quiet_libraries
from rerank_plugin.errors import InvalidValueError

if TYPE_CHECKING:
    from rerank_plugin.evaluation.command import EvalRequest


@app.command("eval")
def evaluate(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="Collection: a folder in BEIR layout, or irds:ID of ir_datasets. Without it: --run and --qrels."
        ),
    ] = None,
    pipeline: Annotated[
        list[str] | None, typer.Option(help="Name or YAML file; repeat it to compare; without it bm25 and bm25_rerank.")
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(help="A run in trec_eval's format to measure beside, as FILE or NAME=FILE; repeat it."),
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Judgements (trec_eval's or BEIR's format) instead of the collection's.")
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for report, runs and answers; an interrupted run goes on from there."),
    ] = Path("eval"),
    index: Annotated[
        Path | None, typer.Option("--index", help="Folder of an index; without it one is made for the collection, and kept.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which judgements: qrels/SPLIT.tsv.")] = "test",
    lang: Annotated[
        str | None, typer.Option(help="Only queries with this 'lang', or all; by default that of the first.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the keyword index; by default the queries' own 'lang', else en.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N judged queries.")] = None,
    candidates: Annotated[int, typer.Option(help="Candidates of the first stage, and length of the rankings.")] = 100,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="As ir-measures writes it, such as nDCG@10; repeat it; the first is plotted."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Compare all with this system only; by default with the first, and two stages with their first."),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Instead, try settings of one pipeline's second stage, and name the one to choose."),
    ] = False,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="With --sweep: candidates=10,50 precision=auto,int8 windows=max,truncate fusion=none,rrf:0.5."),
    ] = None,
    embedding_model: EmbeddingModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Measure pipelines side by side: quality, significance, cost and time, and a report of what the second stage gains.

    The report (report.html, report.md) has plots, and both rankings of the queries that gained and lost most.

    Choose on a dev split; read the test split once.
    """
    if grid and not sweep:
        raise InvalidValueError("--grid says what --sweep tries: give both")
    with quiet_libraries():
        from rerank_plugin.evaluation.command import DEFAULT_PIPELINES, EvalRequest
        from rerank_plugin.evaluation.measures import DEFAULT_MEASURES

        defaults = ["bm25_rerank"] if sweep else [] if run else DEFAULT_PIPELINES
        request = EvalRequest(
            dataset=dataset,
            pipelines=pipeline or defaults,
            runs=dict(map(_named_file, run or [])),
            qrels=qrels,
            index=index,
            split=split,
            lang=lang,
            language=language,
            limit=limit,
            candidates=candidates,
            measures=measure or DEFAULT_MEASURES,
            baseline=baseline,
            embedding_model=embedding_model,
            output=output,
        )
        if sweep:
            _sweep(request, grid or [], output, as_json=as_json)
        else:
            _evaluate(request, output, as_json=as_json)


def _evaluate(request: "EvalRequest", output: Path, *, as_json: bool) -> None:
    from rerank_plugin.cli.tables import show_evaluation
    from rerank_plugin.evaluation.command import run_evaluation
    from rerank_plugin.evaluation.report.write import as_json as plain
    from rerank_plugin.evaluation.report.write import write_report

    with progress_bars(hidden=as_json) as announce:
        result = run_evaluation(request, announce=announce)
        announce("Writing the report", 0, 1)
        files = write_report(result, output)
    if as_json:
        echo(to_json(plain(result)))
    else:
        show_evaluation(result)
        echo(f"report: {', '.join(map(str, files))}")
    if result.failures:
        name, first = result.failures[0]
        echo(
            f"error: {len(result.failures)} queries failed and count 0; the first: {name}, {first.query}: {first.error}",
            err=True,
        )
        raise typer.Exit(1)


def _sweep(request: "EvalRequest", grid: list[str], output: Path, *, as_json: bool) -> None:
    from rerank_plugin.cli.tables import show_sweep
    from rerank_plugin.evaluation.report.sweep import sweep_as_json, write_sweep
    from rerank_plugin.evaluation.sweep import Grid, run_sweep

    parsed = Grid.parse(grid)
    with progress_bars(hidden=as_json) as announce:
        result = run_sweep(request, parsed, announce=announce)
        files = write_sweep(result, output)
    if as_json:
        echo(to_json(sweep_as_json(result)))
    else:
        show_sweep(result)
        echo(f"report: {', '.join(map(str, files))}")


def _named_file(text: str) -> tuple[str, Path]:
    name, found, file = text.partition("=")
    path = Path(file if found else text)
    if not path.is_file():
        raise InvalidValueError(f"--run {text}: {path} does not exist; write FILE or NAME=FILE")
    return (name if found else path.stem), path
