"""`rerank calibrate`, `bench` and `doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from rerank_plugin.cli.app import EmbeddingModelOption, JsonOption, QueryLanguageOption, app
from rerank_plugin.cli.printing import echo, to_json
from rerank_plugin.cli.progress import progress_bar, progress_bars, quiet_libraries


@app.command()
def calibrate(
    dataset: Annotated[str, typer.Argument(help="Judged collection: a BEIR folder, an index with judgements, or irds:ID.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: calibration.json in the model's folder.")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option("--index", help="Folder of an index; default: the collection is indexed, and the index is cached."),
    ] = None,
    pipeline: Annotated[str, typer.Option(help="A pipeline with a ranker: its name, or a YAML file.")] = "bm25_rerank",
    split: Annotated[
        str,
        typer.Option(help="Judgements to fit on: qrels/SPLIT.tsv, or dev, test or all of an index; not what you report on."),
    ] = "dev",
    language: QueryLanguageOption = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N judged queries.")] = None,
    candidates: Annotated[int, typer.Option(help="Candidates per query.")] = 100,
    method: Annotated[str, typer.Option(help="'platt' (slope and offset) or 'temperature' (slope only).")] = "platt",
    embedding_model: EmbeddingModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Calibrate a model's scores on judged queries: probabilities, fusion weights, and when to stop scoring.

    The collection is indexed for it, as by `rerank eval`, unless it is an index, or --index names one that holds it.
    CrossEncoderRanker reads the file from the model's folder by default; pass another file as its parameter `calibration`.
    """
    with quiet_libraries(), progress_bars(hidden=as_json) as on_progress:
        from rerank_plugin.evaluation.calibration_run import run_calibration
        from rerank_plugin.evaluation.request import EvalRequest

        request = EvalRequest(
            dataset=dataset,
            pipelines=[pipeline],
            index=index,
            split=split,
            language=language,
            limit=limit,
            candidates=candidates,
            embedding_model=embedding_model,
        )
        report, name, file = run_calibration(request, method=method, output=output, on_progress=on_progress)
    lines = report.lines()
    if as_json:
        echo(to_json({**lines, "file": str(file)}))
        return
    from rerank_plugin.cli.tables import show_facts

    show_facts({f"{name}, {split}": lines})
    echo(f"written to {file}")


@app.command()
def bench(
    dataset: Annotated[
        Path | None, typer.Argument(help="Judged collection in BEIR layout; default: the sample corpus.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the table, JSON and plot.")] = Path("bench"),
    model: Annotated[
        str | None,
        typer.Option(
            help="Cross-encoder: bundled name, folder or Hub id, or random:ettin-17m (-32m to -400m): random weights in the "
            "shape of an Ettin reranker; default: the bundled model."
        ),
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            help="stock, flashrank, fastembed, infinity, or BACKEND:PRECISION; repeatable. The first is the baseline. "
            "fastembed and infinity are installed into environments of their own, once."
        ),
    ] = None,
    case: Annotated[list[str] | None, typer.Option(help="CANDIDATESxTOKENS or CANDIDATESxFROM-TO; repeatable.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds per case.")] = 9,
    concurrency: Annotated[
        int, typer.Option(help="Calls at a time; with more than one they are also measured one after the other.")
    ] = 1,
    queries: Annotated[
        int | None,
        typer.Option(help="Number of judged queries for measuring quality; 0: none; default: 50, or 0 for random weights."),
    ] = None,
    split: Annotated[str, typer.Option(help="Judgements to use: qrels/SPLIT.tsv.")] = "test",
    memory: Annotated[str | None, typer.Option(help="Also measure the peak memory of this case, such as 1000x512.")] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Benchmark rerankers: Haystack's stock ranker, this one in several precisions, FlashRank, fastembed, infinity.

    All have the same model and the same pairs, and are called in turn.

    - Speed: the median time of the first system over that of each.
    - Spread: of the time for a token, between its quartiles, over its median.
    - Model, tokenizing: shares of the time of a call.
    - In turn: time of the calls one after the other, over that together.
    """
    with quiet_libraries(), progress_bar("Measuring", hidden=as_json) as on_progress:
        from rerank_plugin.evaluation.bench.command import BenchRequest, measure_and_report
        from rerank_plugin.evaluation.bench.report import tables
        from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL

        request = BenchRequest(
            dataset=dataset,
            model=model or DEFAULT_MODEL,
            systems=system or (),
            cases=case or (),
            rounds=rounds,
            callers=concurrency,
            queries=queries,
            split=split,
            memory=memory,
        )
        result, files = measure_and_report(request, output, on_progress=on_progress)
    shown = {**tables(result), "written": [{"file": str(file)} for file in files]}
    if as_json:
        echo(to_json({**shown, "noise": result.noise}))
        return
    from rerank_plugin.cli.tables import show_rows

    show_rows(shown)
    if result.noise:
        echo(result.noise)


@app.command()
def doctor(
    index: Annotated[Path | None, typer.Option("--index", help="Also examine this index and measure its recall.")] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            help="Also examine the database of this indexing pipeline, such as indexing_qdrant; --index is then the folder "
            "of the record of what was indexed."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Examine the installation and an index, and say what to do about what is not good.

    Versions, what `auto` means on this machine, models and where they come from, the Hub, and the health of the index.
    """
    with quiet_libraries():
        from rerank_plugin.cli import doctor as examine

        sections = examine.examine_installation()
        if pipeline is not None:
            from rerank_plugin.cli.doctor_store import examine_store

            sections["database"] = examine_store(pipeline, index)
        elif index is not None:
            sections["index"] = examine.examine_index(index)
    if as_json:
        echo(to_json(examine.as_json(sections), indent=2))
        return
    from rerank_plugin.cli.doctor_page import show_sections

    show_sections(sections)
