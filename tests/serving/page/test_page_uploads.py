"""Adding files to an index on the page, removing them, and taking both back."""

import http.client
import io
import json
import zipfile

import httpx
import pytest
from page_index import SENTENCES
from rerank_servers import FullEngine, running

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.serving.page.settings import PageSettings
from rerank_plugin.serving.search_service import SearchService
from rerank_plugin.store import HybridDocumentStore

BYTES = {"content-type": "application/octet-stream"}
LIMIT = 400_000


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return tmp_path_factory.mktemp("writable") / "index"


@pytest.fixture(scope="module")
def client(index):
    service = SearchService(index, ["bm25"], max_waiting=20, may_be_empty=True)
    page = PageSettings(writable=True, max_upload_bytes=LIMIT)
    with (
        running({"tiny": FullEngine()}, keys=(), searches=service, page=page) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def upload(client, name, data):
    answer = client.post("/page/upload", params={"name": name}, content=data, headers=BYTES)
    return finished(client, answer.json()) if answer.status_code == 200 else answer


def finished(client, job):
    while job["state"] in ("waiting", "running"):
        job = client.get(f"/page/jobs/{job['id']}").json()
    return job


def files(client):
    return {file["name"]: file for file in client.get("/page/files").json()["files"]}


def sources(client, query):
    return {hit["file"] for hit in client.post("/page/search", json={"query": query}).json()["hits"]}


@pytest.mark.slow
def test_an_empty_index_is_filled_searched_and_emptied_again(client, index):
    assert "add documents first" in client.post("/page/search", json={"query": "river"}).json()["message"]
    job = upload(client, "river notes.md", f"# Rivers\n\n{SENTENCES[0]}\n".encode())
    assert (job["state"], job["passages"], job["error"]) == ("done", 1, None)
    assert sources(client, "river") == {"river notes.md"}
    file = files(client)["river notes.md"]
    assert file["is_complete"]
    assert file["is_uploaded"]
    removed = client.post("/page/remove", json={"source": file["source"]}).json()
    assert client.get("/page/files").json()["documents"] == 0
    back = finished(client, client.post("/page/undo", json={"undo": removed["undo"]}).json())
    assert back["state"] == "done"
    assert sources(client, "river") == {"river notes.md"}
    assert client.post("/page/undo", json={"undo": removed["undo"]}).status_code == 404
    overview = client.get("/page/files", params={"find": "RIVER"}).json()
    assert (overview["documents"], overview["found"], overview["without_file"]) == (1, 1, 0)
    assert client.get("/page/files", params={"find": "no such"}).json()["found"] == 0
    assert client.get("/page/health").json() == {"is_sound": True, "error": None}
    with HybridDocumentStore(index) as store:
        assert store.count_documents() == 1


def zip_bomb():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        for number in range(30):
            archive.writestr(f"word/document{number}.xml", b"\0" * 9_000_000, compresslevel=9)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("../../etc/cron.d/evil.txt", 400),
        ("/etc/evil.txt", 400),
        ("a\\b.txt", 400),
        ("..", 400),
        (".hidden.txt", 400),
        ("", 415),
        ("new\nline.txt", 400),
        ("invoice\u202etxt.pdf", 400),
        ("x" * 300 + ".txt", 400),
        ("program.exe", 415),
        ("page.svg", 415),
        ("corpus.jsonl", 415),
        ("no extension", 415),
    ],
)
def test_hostile_names_and_types_are_refused_with_one_line(client, index, name, status):
    answer = client.post("/page/upload", params={"name": name}, content=b"river", headers=BYTES)
    assert answer.status_code == status, answer.text
    assert "\n" not in answer.json()["message"]
    assert not (index.parent / "evil.txt").exists()


def test_a_file_that_is_too_large_is_refused_before_it_has_arrived(client, index):
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=30)
    connection.putrequest("POST", "/page/upload?name=big.txt")
    for header, value in (*BYTES.items(), ("content-length", "2000000000")):
        connection.putheader(header, value)
    connection.endheaders()
    refused = connection.getresponse()
    assert refused.status == 413
    assert "larger than 400,000 bytes" in json.loads(refused.read())["message"]
    connection.close()

    def pieces():  # of an unknown length
        for _ in range(100):
            yield b"river " * 1000

    answer = client.post("/page/upload", params={"name": "big.txt"}, content=pieces(), headers=BYTES)
    assert answer.status_code == 413
    assert [file.name for file in (index / ".uploads").glob("*") if file.is_file() and "big" in file.name] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("bomb.docx", None, "bomb.docx unpacks to more than 256 MiB"),
        ("fake.pdf", b"MZ\x90 not a pdf", "fake.pdf is not a PDF file"),
        ("binary.txt", bytes(range(256)) * 50, "binary.txt"),
        ("empty.txt", b"", "empty.txt has no readable text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_leaves_nothing(client, index, name, data, message):
    before = client.get("/page/files").json()["documents"]
    job = upload(client, name, zip_bomb() if data is None else data)
    assert job["state"] == "failed"
    assert message in job["error"]
    assert str(index) not in job["error"]
    assert name not in files(client)
    assert client.get("/page/files").json()["documents"] == before
    assert not (index / ".uploads" / name).exists()


@pytest.mark.slow
def test_a_name_that_is_taken_is_refused(client):
    assert upload(client, "taken.txt", b"The fox eats.")["state"] == "done"
    again = upload(client, "taken.txt", b"Another fox sleeps.")
    assert again.status_code == 409
    assert "remove it first" in again.json()["message"]


def test_what_is_not_in_the_index_cannot_be_removed(client, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("kept")
    assert client.post("/page/remove", json={"source": str(outside)}).status_code == 404
    assert outside.exists()
    assert client.get("/page/jobs/none").status_code == 404


def test_a_page_that_changes_an_index_of_another_store_is_refused(index, tmp_path):
    yaml = tmp_path / "other.yaml"
    yaml.write_text(
        "components:\n  bm25_retriever:\n"
        "    type: haystack.components.retrievers.in_memory.bm25_retriever.InMemoryBM25Retriever\n"
        "    init_parameters:\n      document_store:\n"
        "        type: haystack.document_stores.in_memory.document_store.InMemoryDocumentStore\n"
        "        init_parameters: {}\n"
    )
    service = SearchService(index, [str(yaml)], max_waiting=2)
    from rerank_plugin.serving.page.parts import PageParts

    with pytest.raises(InvalidValueError, match="--writable needs an index of this package"):
        PageParts(service, PageSettings(writable=True))
    service.close()
