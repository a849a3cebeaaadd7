"""The application, the options shared by several commands, and the handling of errors."""

import atexit
import errno
import gc
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from rerank_plugin import __version__
from rerank_plugin.checks import shown
from rerank_plugin.cli.printing import echo, printable
from rerank_plugin.cli.progress import show_all_warnings
from rerank_plugin.errors import RerankError, caused_by

app = typer.Typer(
    name="rerank",
    help="Two-stage search: BM25 or FAISS retrieves, a cross-encoder reranks.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT_INDEX = Path("index")
INTERRUPTED = 130
GARBAGE_THRESHOLD = 100_000  # objects made between two collections; Python has 700 or 2,000
_INTERRUPTED_MESSAGE = "interrupted; completed work is kept, run the command again to continue"


@dataclass
class AppOptions:
    """
    The options given before the command's name, and the state of the run.

    :param debug: Show the full traceback of an error.
    :param interrupted: What to say if the command is interrupted; the command may set it.
    """

    debug: bool = False
    interrupted: str = _INTERRUPTED_MESSAGE


IndexOption = Annotated[Path, typer.Option("--index", help="Folder of the index.", show_default=True)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
EmbeddingModelOption = Annotated[
    str | None,
    typer.Option("--embedding-model", help="Hub id or folder of a bi-encoder to use instead of the pipeline's."),
]
QueryLanguageOption = Annotated[
    str | None,
    typer.Option(
        "--language",
        help="Only queries and documents with this 'lang' (or none), or 'all'; also the language of the keyword index. "
        "Default: the 'lang' of the first query, else en.",
    ),
]


def _version(value: bool) -> None:
    if value:
        echo(f"rerank {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full traceback of an error, and the warnings of other libraries.")
    ] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if isinstance(context.obj, AppOptions):
        context.obj.debug = debug
    show_all_warnings(debug)


def main() -> None:
    """Run the command line. Errors are reported on one line; the exit status is 2 for a wrong option, otherwise 1."""
    _collect_garbage_seldom()
    options = AppOptions()
    try:
        status = app(sys.argv[1:] or ["--help"], prog_name="rerank", obj=options, standalone_mode=False)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:  # the outermost handler: any error becomes one line instead of a traceback
        if options.debug:
            raise
        _fail(*_message(error))
    if status == INTERRUPTED:
        _fail(options.interrupted, INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _collect_garbage_seldom() -> None:
    """
    Spare short commands the garbage collection of what they import.

    Libraries make objects by the hundred thousand that live as long as the process: to go through them while they are
    imported, and once more at exit, took a third of the time of `import haystack`.
    """
    gc.set_threshold(GARBAGE_THRESHOLD)
    atexit.register(gc.freeze)


def _message(error: Exception) -> tuple[str, int]:
    """Return the one-line message for an error, and the exit status of the command."""
    if isinstance(error, typer.Abort):
        return _INTERRUPTED_MESSAGE, INTERRUPTED
    usage: Any = error
    if hasattr(error, "format_message") and hasattr(
        error, "exit_code"
    ):  # Click's own errors, wherever Typer keeps their class
        command = usage.ctx.command_path if getattr(error, "ctx", None) is not None else "rerank"
        return f"{usage.format_message()}  (see `{command} --help`)", usage.exit_code
    ours = caused_by(error, RerankError)
    if ours is not None:
        return str(ours), 1
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many open files: raise the limit with `ulimit -n 4096` and run the command again", 1
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str | bytes | Path):
        return f"{error.strerror[0].lower()}{error.strerror[1:]}: {shown(str(error.filename))}", 1
    return f"{type(error).__name__}: {error}  (run `rerank --debug ...` for details)", 1


def _fail(message: str, status: int) -> NoReturn:
    echo(f"error: {printable(message)}", err=True)
    sys.exit(status)
