"""`rerank calibrate`, `bench` and `doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from rerank_plugin.cli.app import DEFAULT_INDEX, EmbeddingModelOption, IndexOption, JsonOption, app
from rerank_plugin.cli.printing import echo, to_json
from rerank_plugin.cli.progress import progress_bar, quiet_libraries


@app.command()
def calibrate(
    dataset: Annotated[Path, typer.Argument(help="Judged collection in BEIR layout, indexed before with `rerank index`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default calibration.json in the model's folder.")
    ] = None,
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[str, typer.Option(help="A pipeline with a ranker: its name, or a YAML file.")] = "bm25_rerank",
    split: Annotated[str, typer.Option(help="Which judgements: qrels/SPLIT.tsv. Not those that you report on.")] = "dev",
    lang: Annotated[str | None, typer.Option(help="Only queries whose metadata has this 'lang'.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N judged queries.")] = None,
    candidates: Annotated[int, typer.Option(help="Candidates of the first stage.")] = 100,
    method: Annotated[str, typer.Option(help="'platt' (slope and offset) or 'temperature' (slope only).")] = "platt",
    embedding_model: EmbeddingModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Fit a model's scores on judged queries: probabilities, fusion weights, and when to stop scoring.

    CrossEncoderRanker finds the file in the model's folder by itself; of one elsewhere it is told by its parameter
    `calibration`.
    """
    from rerank_plugin.evaluation.collection import open_collection

    queries, qrels = open_collection(dataset, split=split).judged(lang=lang, limit=limit)
    with quiet_libraries(), progress_bar("Scoring", hidden=as_json) as progress:
        from rerank_plugin.evaluation.calibrate import calibrate as fit
        from rerank_plugin.evaluation.calibrate import calibration_file
        from rerank_plugin.evaluation.candidates import score_candidates
        from rerank_plugin.pipelines import load_pipeline

        loaded = load_pipeline(pipeline, index=index, embedding_model=embedding_model)
        file = calibration_file(loaded, output)
        judged = score_candidates(
            loaded, queries, qrels, depth=candidates, progress=lambda done: progress(done, len(queries))
        )
    source = {"dataset": dataset.name, "split": split, "pipeline": pipeline, "candidates": candidates}
    report = fit(judged, method=method, source=source)
    report.calibration.save(file)
    if as_json:
        echo(to_json({**report.lines, "file": str(file)}))
        return
    from rerank_plugin.cli.tables import show_facts

    show_facts({f"{dataset.name}, {split}": report.lines})
    echo(f"written to {file}")


@app.command()
def bench(
    dataset: Annotated[
        Path | None, typer.Argument(help="Judged collection in BEIR layout; by default the sample corpus.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for table, JSON and picture.")] = Path("bench"),
    model: Annotated[
        str | None, typer.Option(help="Cross-encoder: bundled name, folder or Hub id; by default the bundled English one.")
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(help="stock, flashrank, or BACKEND:PRECISION; repeat it. The others are compared with the first."),
    ] = None,
    case: Annotated[list[str] | None, typer.Option(help="CANDIDATESxTOKENS or CANDIDATESxFROM-TO; repeat it.")] = None,
    rounds: Annotated[int, typer.Option(help="Calls of each case.")] = 9,
    queries: Annotated[int, typer.Option(help="Judged queries for the quality; 0 leaves it out.")] = 50,
    split: Annotated[str, typer.Option(help="Which judgements: qrels/SPLIT.tsv.")] = "test",
    memory: Annotated[str | None, typer.Option(help="Case whose peak memory is measured, such as 1000x512.")] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Measure rerankers side by side: the stock ranker, this one in several precisions, FlashRank; same model, same pairs.

    They take turns call by call. Speed is that of medians, against the first system.
    """
    with quiet_libraries(), progress_bar("Measuring", hidden=as_json) as progress:
        from rerank_plugin.evaluation.bench.command import measure_and_report
        from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL

        found = measure_and_report(
            dataset,
            output,
            model=model or DEFAULT_MODEL,
            systems=system,
            cases=case,
            rounds=rounds,
            queries=queries,
            split=split,
            memory=memory,
            progress=progress,
        )
    if as_json:
        echo(to_json(found))
        return
    from rerank_plugin.cli.tables import show_rows

    show_rows(found)


@app.command()
def doctor(
    index: Annotated[Path | None, typer.Option("--index", help="Look at this index too; measures its recall.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is installed, what would be used, and how an index is."""
    from rerank_plugin.cli.doctor import examine_index, examine_installation
    from rerank_plugin.cli.tables import show_facts

    with quiet_libraries():
        found = {"installation": examine_installation()}
        if index is not None:
            found["index"] = examine_index(index)
    if as_json:
        echo(to_json(found, indent=2))
    else:
        show_facts(found)
