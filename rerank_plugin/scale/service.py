"""
The service on Ray Serve: `serve run rerank_plugin.scale.service:build model=me5-l12-enru replicas=4`.

The app that answers HTTP is that of `rerank serve`; its models are replicas in other processes, on one or many machines.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application

from rerank_plugin.scale.remote_engine import RemoteEngine
from rerank_plugin.scale.replica import RankReplica
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.serving.app import create_app
from rerank_plugin.serving.keys import keys_for
from rerank_plugin.serving.models import ServedModels
from rerank_plugin.serving.settings import ServerSettings

REPLICAS = "rank-replicas"
# Requests that a replica holds: they wait in the queue of its own scheduler, which shares batches between them.
ONGOING = 64


class ServiceSettings(BaseModel):
    """The arguments of `build`, in a Serve config file under `args`, or on the command line of `serve run`."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(default=DEFAULT_MODEL, description="A bundled name, a folder that all machines have, or a Hub id.")
    name: str | None = Field(default=None, description="The name that clients use; default: the model's.")
    replicas: int = Field(default=2, ge=1, description="Processes that rank; with `most_replicas` the least number.")
    most_replicas: int | None = Field(default=None, ge=1, description="More are started under load, up to so many.")
    requests_per_replica: float = Field(default=4, gt=0, description="With `most_replicas`: more are started above this.")
    threads: int = Field(default=1, ge=1, description="Threads, and processors, of a replica.")
    gpus: float = Field(default=0, ge=0, description="GPUs of a replica.")
    precision: str = "auto"
    backend: str = "auto"
    time_budget_ms: float | None = None
    max_waiting: int = Field(default=256, ge=1, description="Requests that may wait; more are refused with 429.")
    max_wait: float = Field(default=30.0, gt=0, description="Seconds that a request may have to wait in a replica.")
    keys_file: str | None = Field(default=None, description="As in `rerank serve`.")
    without_keys: bool = Field(
        default=False, description="Let everyone use it who reaches another address than this machine's."
    )
    host: str = Field(default="127.0.0.1", description="The address that Serve listens on, for the check of the keys.")
    drain_seconds: float = Field(default=30.0, gt=0, description="Seconds that the requests of a stopped replica have.")


def build(args: ServiceSettings) -> Application:
    """
    Build the application.

    :param args: The settings.
    :returns: The application, for `serve run`, `serve deploy` or `ray.serve.run`.
    """
    replicas = serve.deployment(RankReplica, name=REPLICAS).options(**_replica_options(args))
    parameters = {
        "model": args.model,
        "num_threads": args.threads,
        "precision": args.precision,
        "backend": args.backend,
        "time_budget_ms": args.time_budget_ms,
    }
    bound = replicas.bind(parameters, max_waiting=ONGOING, max_wait=args.max_wait)
    front = serve.deployment(serve.ingress(_app_builder(args))(_Front), name="http").options(
        num_replicas=1,
        max_ongoing_requests=args.max_waiting + ONGOING,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=args.drain_seconds,
    )
    application: Application = front.bind(bound)
    return application


def _replica_options(args: ServiceSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "max_ongoing_requests": ONGOING,
        "max_queued_requests": args.max_waiting,
        "ray_actor_options": {"num_cpus": args.threads, "num_gpus": args.gpus},
        "graceful_shutdown_timeout_s": args.drain_seconds,
    }
    if args.most_replicas is None:
        return options | {"num_replicas": args.replicas}
    scaling = {
        "min_replicas": args.replicas,
        "max_replicas": args.most_replicas,
        "target_ongoing_requests": args.requests_per_replica,
    }
    return options | {"autoscaling_config": scaling}


class _Front:
    """
    The process that answers HTTP.

    :param replicas: Handle of the replicas; bound here so that they are deployed, and looked up by name by the app.
    """

    def __init__(self, replicas: Any) -> None:
        self._replicas = replicas


def _app_builder(args: ServiceSettings) -> Callable[[], Any]:
    def app() -> Any:
        settings = ServerSettings(host=args.host, max_waiting=args.max_waiting, max_wait=args.max_wait)
        keys_file = None if args.keys_file is None else Path(args.keys_file)
        keys = keys_for(settings, keys_file, without_keys=args.without_keys)
        handle = serve.get_deployment_handle(REPLICAS, app_name=serve.get_replica_context().app_name)
        models = ServedModels({args.name or args.model: RemoteEngine(handle)})
        return create_app(models, settings=settings, keys=keys)

    return app
