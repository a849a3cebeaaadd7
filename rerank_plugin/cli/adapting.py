"""`rerank adapt`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_plugin.cli.app import JsonOption, app
from rerank_plugin.cli.printing import echo, to_json
from rerank_plugin.cli.progress import progress_bars, quiet_libraries

if TYPE_CHECKING:
    from rerank_plugin.training.adapting.run import Adaptation

WRITER = "Questions from a language model"


@app.command()
def adapt(
    source: Annotated[
        list[Path],
        typer.Argument(
            help="An index; a pipeline YAML and the index that it shall search; or files and folders, which are indexed."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the adapted model.")],
    pipeline: Annotated[
        str, typer.Option(help="Its first stage finds the candidates, and its ranker is adapted: a name or a YAML file.")
    ] = "bm25_rerank",
    model: Annotated[str | None, typer.Option(help="Model to start from; default: that of the pipeline's ranker.")] = None,
    minutes: Annotated[float, typer.Option(help="Time for training and measuring on this machine, without indexing.")] = 30,
    language: Annotated[str, typer.Option(help="Language of the corpus, such as en or ru.")] = "en",
    learn: Annotated[
        str | None,
        typer.Option(
            help="Judged queries about the corpus, to learn from: a BEIR folder, or FOLDER:SPLIT (default: train)."
        ),
    ] = None,
    judged: Annotated[
        str | None,
        typer.Option(
            help="Judged queries about the corpus, for the verdict: a BEIR folder, or FOLDER:SPLIT (default: test)."
        ),
    ] = None,
    judged_queries: Annotated[
        int | None, typer.Option(help="Maximum number of judged queries; default: as many as fit --minutes.")
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="File with real queries, one a line, such as from a log.")] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(help="Another cross-encoder that has a say: name, folder, Hub id, or address of a server; repeatable."),
    ] = None,
    lists: Annotated[
        int | None,
        typer.Option(help="Number of training lists, whatever time they take; default: as many as fit --minutes."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 42,
    llm_url: Annotated[
        str | None,
        typer.Option(help="Address of an OpenAI-compatible API, such as http://127.0.0.1:8000/v1.", rich_help_panel=WRITER),
    ] = None,
    llm_model: Annotated[str | None, typer.Option(help="Name of the language model.", rich_help_panel=WRITER)] = None,
    llm_calls: Annotated[
        int, typer.Option(help="Maximum number of calls; each writes questions about five passages.", rich_help_panel=WRITER)
    ] = 200,
    as_json: JsonOption = False,
) -> None:
    """
    Adapt a reranker to a corpus, with or without judgements.

    Queries are made from the passages; an ensemble of models says which candidates answer them. Judgements of an index
    (`rerank judge`) are used unless others are given: half of them to learn from, half for the verdict.

    The result is measured beside the model that it started from; the last line says whether to use it.

    An interrupted run is resumed when the same command is run again.
    """
    from rerank_plugin.errors import InvalidValueError

    if (llm_url is None) != (llm_model is None):
        raise InvalidValueError("a language model needs both --llm-url and --llm-model")
    with quiet_libraries(), progress_bars(hidden=as_json) as on_progress:
        from rerank_plugin.training.adapting.request import AdaptRequest, LanguageModel
        from rerank_plugin.training.adapting.run import run_adaptation
        from rerank_plugin.training.recipe.request import Measured

        request = AdaptRequest(
            sources=tuple(source),
            output=output,
            pipeline=pipeline,
            model=model,
            language=language,
            minutes=minutes,
            lists=lists,
            teachers=tuple(teacher or ()),
            queries=queries,
            learned=None if learn is None else Measured.parse(learn, split="train"),
            judged=None if judged is None else Measured.parse(judged, split="test", queries=judged_queries),
            language_model=LanguageModel(llm_url, llm_model, llm_calls) if llm_url and llm_model else None,
            seed=seed,
        )
        adaptation = run_adaptation(request, on_progress=on_progress)
    if as_json:
        echo(to_json(asdict(adaptation)))
    else:
        _show(adaptation)


def _show(adaptation: "Adaptation") -> None:
    from rerank_plugin.cli.tables import show_facts

    title = f"{adaptation.base}, adapted with {adaptation.lists:,} lists"
    show_facts({title: {check.role: check.line() for check in adaptation.checks}})
    echo(f"model: {adaptation.model}")
    echo(f"verdict: {adaptation.verdict.word}; {adaptation.verdict.reason}")
