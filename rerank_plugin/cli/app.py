"""The application, the options that several commands share, and how errors end a command."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rerank_plugin import __version__
from rerank_plugin.errors import RerankError

app = typer.Typer(
    name="rerank",
    help="Two-stage search: BM25 or FAISS retrieves, a cross-encoder reranks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT_INDEX = Path("index")

IndexOption = Annotated[Path, typer.Option("--index", help="Folder of the index.", show_default=True)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
EmbeddingModelOption = Annotated[
    str | None,
    typer.Option("--embedding-model", help="Hub id or folder of the bi-encoder, instead of the pipeline's own."),
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"rerank {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = debug


def main() -> None:
    """Run the command line; a user's mistake becomes one line and exit status 1."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except RerankError as error:
        _fail(str(error), debug=debug)
    except KeyboardInterrupt:
        _fail("interrupted; what was written stays, start the command again to go on", debug=debug)
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a line instead of a traceback
        _fail(
            f"{type(error).__name__}: {' '.join(str(error).split())}  (run `rerank --debug ...` for details)",
            debug=debug,
        )


def _fail(message: str, *, debug: bool) -> None:
    if debug:
        raise  # noqa: PLE0704 - called from the except clauses of main
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)
