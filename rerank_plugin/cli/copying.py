"""The command `rerank copy`."""

from typing import Annotated

import typer

from rerank_plugin.cli.app import AppOptions, JsonOption, app
from rerank_plugin.cli.printing import counted, echo, printable, to_json
from rerank_plugin.cli.progress import progress_bar, quiet_libraries

_PLACE = "folder of an index, or a pipeline (its name, or a YAML file) whose document store is meant."


@app.command()
def copy(
    context: typer.Context,
    source: Annotated[str, typer.Option("--from", help=f"Where the documents are: {_PLACE}", metavar="PLACE")],
    target: Annotated[str, typer.Option("--to", help=f"Where they shall be copied: {_PLACE}", metavar="PLACE")],
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another run that writes there to end; 0 to fail at once.", min=0)
    ] = 600.0,
    as_json: JsonOption = False,
) -> None:
    """
    Copy an index with its embeddings into another database, or back: nothing is embedded again.

    A document replaces the one that has its id. An interrupted copy is resumed; at the end the documents are counted.
    """
    if isinstance(context.obj, AppOptions):
        context.obj.interrupted = "interrupted; what was copied is kept. Run the same command again to go on from there"
    with progress_bar("Copying", hidden=as_json) as bar, quiet_libraries():
        from rerank_plugin.indexing import copy_documents

        report = copy_documents(
            source, target, progress=bar, wait=wait, on_report=lambda text: echo(printable(text), err=True)
        )
    if as_json:
        echo(to_json(vars(report)))
        return
    resumed = f" (and {report.resumed:,} before the interruption)" if report.resumed else ""
    echo(
        f"{counted(report.copied, 'document')} copied{resumed} from {report.source} to {report.target}, "
        f"which now has {report.total:,}"
    )
