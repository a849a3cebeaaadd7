"""The command `rerank mcp`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from rerank_plugin.cli.app import DEFAULT_INDEX, AppOptions, EmbeddingModelOption, IndexOption, app
from rerank_plugin.cli.lazy_torch import postpone_torch
from rerank_plugin.cli.printing import echo, printable
from rerank_plugin.cli.progress import quiet_libraries
from rerank_plugin.errors import InvalidValueError, MissingDependencyError, RerankError

if TYPE_CHECKING:
    from rerank_plugin.serving.mcp.service import McpService
    from rerank_plugin.serving.search_service import SearchService

EXTRA = "pip install 'rerank-plugin[mcp]'"
# Searches that may wait or run at the same time.
MOST_SEARCHES = 256


@app.command()
def mcp(
    context: typer.Context,
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[
        list[str] | None,
        typer.Option(help="Pipeline to search with: a name or a YAML file; repeatable. Default: bm25_rerank."),
    ] = None,
    embedding_model: EmbeddingModelOption = None,
    about: Annotated[
        str | None, typer.Option(help="What the documents are, for the model: 'the manuals of our coffee machines'.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="Address of a document for citations, with metadata in braces: 'https://wiki.example.org/{source}'. "
            "Default: the field 'url' of the document, or its resource."
        ),
    ] = None,
    http: Annotated[
        bool, typer.Option("--http", help="Serve over HTTP, at /mcp, instead of standard input and output.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on, with --http.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on, with --http; 0: any that is free.")] = 8788,
    keys_file: Annotated[
        Path | None,
        typer.Option("--keys-file", help="File with a key on each line, with --http; as in `rerank serve`."),
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Let everyone who reaches another address than this machine's use it.")
    ] = False,
) -> None:
    """
    Serve searches of an index to agents, by the Model Context Protocol.

    The tools 'search' and 'fetch' only read. Claude, IDEs and others start the command by themselves and speak to it
    over standard input and output, or reach it over HTTP with --http.
    """
    if isinstance(context.obj, AppOptions):
        context.obj.interrupted = "stopped"
    if not http and (keys_file is not None or without_keys):
        raise InvalidValueError(
            "keys are for --http: over standard input and output only the program that started it is served"
        )
    if not index.is_dir():
        raise InvalidValueError(f"there is no index at {index}: make one with `rerank index`, or pass its folder as --index")
    _check_installed()
    postpone_torch()  # OpenVINO does without
    with quiet_libraries():
        from rerank_plugin.serving.mcp.service import McpService

        def open_searches() -> "SearchService":
            from rerank_plugin.serving.search_service import SearchService

            sources = pipeline or ["bm25_rerank"]
            return SearchService(index, sources, embedding_model=embedding_model, max_waiting=MOST_SEARCHES)

        service = McpService(open_searches, about=about, url_template=url)
        if http:
            _serve_http(service, host, port, keys_file, without_keys=without_keys)
        else:
            from rerank_plugin.serving.mcp.stdio import run_stdio

            run_stdio(service, on_failure=_fail)


def _check_installed() -> None:
    try:
        import mcp  # noqa: F401
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"rerank mcp needs {error.name}: {EXTRA}") from error


def _serve_http(service: "McpService", host: str, port: int, keys_file: Path | None, *, without_keys: bool) -> None:
    from rerank_plugin.serving.keys import keys_for
    from rerank_plugin.serving.mcp.http import PATH, run_http
    from rerank_plugin.serving.settings import ServerSettings

    settings = ServerSettings(host=host, port=port)
    keys = keys_for(settings, keys_file, without_keys=without_keys)

    def say_where(actual_port: int) -> None:
        at = settings.url.removesuffix(f":{port}")
        echo(f"serving tools at {at}:{actual_port}{PATH} (/ready answers 200 when warm)", err=True)

    run_http(service, settings=settings, keys=keys, on_start=say_where)


def _fail(error: BaseException) -> NoReturn:
    """Say what went wrong, and end at once: a thread that waits for standard input would keep the process alive."""
    message = str(error) if isinstance(error, RerankError) else f"{type(error).__name__}: {error}"
    echo(f"error: {printable(message)}", err=True)
    os._exit(1)
