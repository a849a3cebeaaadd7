"""The command `rerank serve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_plugin.checks import shown
from rerank_plugin.cli.app import AppOptions, EmbeddingModelOption, app
from rerank_plugin.cli.lazy_torch import postpone_torch
from rerank_plugin.cli.printing import echo
from rerank_plugin.cli.progress import quiet_libraries
from rerank_plugin.errors import InvalidValueError, MissingDependencyError

if TYPE_CHECKING:
    from rerank_plugin.components.config import RankerConfig
    from rerank_plugin.serving.models import ServedModels
    from rerank_plugin.serving.settings import ServerSettings

EXTRA = "pip install 'rerank-plugin[serve]'"


@app.command()
def serve(
    context: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]MODEL",
            help="A bundled name, a folder or a Hub id, and the name that clients use for it; repeatable. The first answers "
            "for names that are unknown. Default: the bundled English model.",
        ),
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", help="Folder of an index, for the search page and POST /search.")
    ] = None,
    pipeline: Annotated[
        list[str] | None,
        typer.Option(help="Pipeline for /search: a name or a YAML file; repeatable. Default: bm25_rerank."),
    ] = None,
    embedding_model: EmbeddingModelOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any that is free.")] = 8787,
    keys_file: Annotated[
        Path | None,
        typer.Option(
            "--keys-file",
            help="File with a key on each line, or sha256:HASH of one; read again when it changes. "
            "Keys can also be in RERANK_SERVE_KEYS, separated by commas.",
        ),
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Let everyone who reaches another address than this machine's use it.")
    ] = False,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = "auto",
    backend: Annotated[str, typer.Option(help="auto, openvino, onnx or torch.")] = "auto",
    effort: Annotated[
        str, typer.Option(help="exact; balanced or fast leave out candidates that cannot be among the best.")
    ] = "exact",
    threads: Annotated[int | None, typer.Option(help="Threads of the model; default: one for each processor.")] = None,
    score_cache: Annotated[str | None, typer.Option(help="'memory', or an SQLite file, that keeps scores.")] = None,
    time_budget_ms: Annotated[
        float | None, typer.Option(help="Milliseconds for a request that does not name its own; default: no limit.")
    ] = None,
    keep_order: Annotated[
        bool, typer.Option("--keep-order", help="If scoring fails, answer in the order of the request, and say so.")
    ] = False,
    max_documents: Annotated[int, typer.Option(help="Maximum number of documents in a request.")] = 1000,
    max_body_bytes: Annotated[int, typer.Option(help="Maximum size of a request.")] = 10_000_000,
    max_text_tokens: Annotated[int, typer.Option(help="Maximum tokens of a document.")] = 100_000,
    max_tokens: Annotated[int, typer.Option(help="Maximum tokens of all documents of a request.")] = 1_000_000,
    max_waiting: Annotated[int, typer.Option(help="Requests that may wait; more are refused with 429.")] = 256,
    max_wait: Annotated[
        float, typer.Option(help="Seconds that a request may have to wait for its answer; if more, it is refused with 429.")
    ] = 30.0,
    body_seconds: Annotated[float, typer.Option(help="Seconds in which a request must have arrived.")] = 30.0,
    drain_seconds: Annotated[int, typer.Option(help="Seconds that running requests have after SIGTERM.")] = 30,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may call the server; repeatable. Default: none.")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="File of the certificate, for HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="File of its private key.")] = None,
    writable: Annotated[
        bool, typer.Option("--writable", help="Let visitors of the page add files to the index, and remove them.")
    ] = False,
    judging: Annotated[
        bool | None,
        typer.Option(
            "--judging/--no-judging",
            help="Let visitors of the page judge hits. Default: only where nobody but this machine is served.",
        ),
    ] = None,
    max_upload_bytes: Annotated[int, typer.Option(help="Maximum size of a file that is added on the page.")] = 20_000_000,
    chat_url: Annotated[
        str | None,
        typer.Option(
            help="Server with OpenAI's chat protocol that writes answers on the page, such as http://127.0.0.1:11434/v1; "
            "its key is in RERANK_CHAT_KEY or OPENAI_API_KEY.",
        ),
    ] = None,
    chat_model: Annotated[str | None, typer.Option(help="The model of that server.")] = None,
) -> None:
    """
    Serve the reranker over HTTP, to the clients of Cohere, Jina, TEI, vLLM, Voyage and others.

    A browser opens a page that shows what the second stage does: with --index on its documents, otherwise on texts that are
    pasted. With --index also searches: POST /search. /openapi.json describes all routes.
    The log has a line of JSON for each request on standard output, without any text. SIGTERM lets running requests finish.
    """
    if isinstance(context.obj, AppOptions):
        context.obj.interrupted = "stopped"
    if (pipeline or writable or judging or chat_url) and index is None:
        option = "--pipeline" if pipeline else "--writable" if writable else "--judging" if judging else "--chat-url"
        raise InvalidValueError(f"{option} needs the index that it is for: pass --index, too")
    if (chat_url is None) != (chat_model is None):
        raise InvalidValueError("answers need a server and its model: pass --chat-url and --chat-model")
    postpone_torch()  # OpenVINO does without
    with quiet_libraries():
        _check_installed()
        from rerank_plugin.components.config import RankerConfig
        from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
        from rerank_plugin.serving.keys import keys_for
        from rerank_plugin.serving.page.settings import ChatSettings, PageSettings
        from rerank_plugin.serving.search_service import SearchService
        from rerank_plugin.serving.server import run_server
        from rerank_plugin.serving.settings import RequestLimits, ServerSettings

        settings = ServerSettings(
            host=host,
            port=port,
            limits=RequestLimits(
                body_bytes=max_body_bytes,
                body_seconds=body_seconds,
                documents=max_documents,
                text_tokens=max_text_tokens,
                tokens=max_tokens,
            ),
            max_waiting=max_waiting,
            max_wait=max_wait,
            drain_seconds=drain_seconds,
            cors_origins=cors_origin or (),
            tls_certificate=tls_certificate,
            tls_key=tls_key,
        )
        page = PageSettings(
            writable=writable,
            judging=settings.is_local if judging is None else judging,
            max_upload_bytes=max_upload_bytes,
            chat=ChatSettings(chat_url, chat_model) if chat_url and chat_model else None,
            embedding_model=embedding_model,
        )
        keys = keys_for(settings, keys_file, without_keys=without_keys)
        config = RankerConfig(
            precision=precision,
            backend=backend,
            num_threads=threads,
            score_cache=score_cache,
            time_budget_ms=time_budget_ms,
            effort=effort,
            on_error="keep_order" if keep_order else "raise",
        )
        models = _models(model or [DEFAULT_MODEL], config, settings)
        searches = None
        if index is not None:
            sources = pipeline or ["bm25_rerank"]
            searches = SearchService(
                index, sources, embedding_model=embedding_model, max_waiting=max_waiting, may_be_empty=writable
            )

        def say_where(actual_port: int) -> None:
            at = settings.url.removesuffix(f":{port}")
            echo(f"serving {', '.join(models.names)} at {at}:{actual_port} (/ready answers 200 when warm)", err=True)
            echo(f"open {at}:{actual_port} in a browser", err=True)

        run_server(models, settings=settings, keys=keys, searches=searches, page=page, on_start=say_where)


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import jinja2  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"rerank serve needs {error.name}: {EXTRA}") from error


def _models(sources: list[str], config: "RankerConfig", settings: "ServerSettings") -> "ServedModels":
    from dataclasses import replace

    from rerank_plugin.serving.admission import Admission
    from rerank_plugin.serving.local_engine import LocalEngine
    from rerank_plugin.serving.models import ServedModels
    from rerank_plugin.serving.token_limits import TokenLimits

    limits = TokenLimits(settings.limits.text_tokens, settings.limits.tokens)
    admission = Admission(max_requests=settings.max_waiting, max_wait=settings.max_wait)
    engines = {}
    for source in sources:
        name, separator, place = source.partition("=")
        if not name or (separator and not place):
            raise InvalidValueError(f"--model {shown(source)} must be a model, or NAME=MODEL")
        if name in engines:
            raise InvalidValueError(f"two models are called {shown(name)}: give each a name of its own, NAME=MODEL")
        engines[name] = LocalEngine(
            replace(config, model=place or name),
            admission=admission,
            token_limits=limits,
        )
    return ServedModels(engines)
