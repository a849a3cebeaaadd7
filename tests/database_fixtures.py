"""An empty database of each kind, and what the manifest of this machine says of it."""

import pytest
from databases import REAL, Database, make_database, running_postgres

DIMENSION = 32


@pytest.fixture(scope="session")
def postgres():
    """The address of a PostgreSQL server with pgvector, started once."""
    with running_postgres() as address:
        yield address


@pytest.fixture
def new_database(tmp_path, monkeypatch, request):
    """Make an empty database of a kind."""
    monkeypatch.setenv("RERANK_PLUGIN_DATA", str(tmp_path / "data"))

    def made(name: str, *, folder: str = "", dimension: int = DIMENSION) -> Database:
        address = request.getfixturevalue("postgres") if name == "pgvector" else ""
        database = make_database(name, tmp_path / (folder or name), dimension=dimension, postgres=address)
        for variable, value in database.variables.items():
            monkeypatch.setenv(variable, value)
        return database

    return made


@pytest.fixture(params=REAL)
def database(request, new_database) -> Database:
    """An empty database of each kind."""
    return new_database(request.param)
