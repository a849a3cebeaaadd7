"""Judging over HTTP: the contract that the page is built against."""

import io
import json
import random
import zipfile

import httpx
import pytest
from conftest import WORDS, grades_of_a_judge
from rerank_servers import KEY, FullEngine, running

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.indexing import index_paths
from rerank_plugin.judgements.dataset import IndexDataset
from rerank_plugin.judgements.judgements import Judgements
from rerank_plugin.scoring.calibration import Calibration
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.serving.page.settings import PageSettings
from rerank_plugin.serving.search_service import SearchService

QUERIES = 50
SHOWN = {"pipeline": "bm25", "rank": 1, "blind": True}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    chance = random.Random(11)
    rows = [{"_id": f"d{n}", "title": f"t{n}", "text": " ".join(chance.sample(WORDS, 9))} for n in range(60)]
    (folder / "corpus").mkdir()
    (folder / "corpus" / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "corpus" / "queries.jsonl").write_text("")
    index_paths([folder / "corpus" / "corpus.jsonl"], folder / "index", pipeline="indexing_keyword")
    return folder / "index"


@pytest.fixture(scope="module")
def client(index, cross_encoder, repository):
    """A client of a server with two pipelines."""
    text = (repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(cross_encoder))
    (index.parent / "small.yaml").write_text(text)
    service = SearchService(index, [str(index.parent / "small.yaml"), "bm25"], max_waiting=20)
    with (
        running({"tiny": FullEngine()}, keys=(), searches=service) as url,
        httpx.Client(base_url=url, timeout=120) as client,
    ):
        yield client


def post(client, path, status=200, **body):
    answer = client.post(f"/judgements{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def get(client, path, **parameters):
    answer = client.get(f"/judgements{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def documents(client, query="red fox"):
    return [hit["id"] for hit in post(client, "/pool", query=query, pipelines=["bm25"])["hits"]]


def judge(client, document, grade, query="red fox", judge="anna", **more):
    return post(client, "", query=query, document_id=document, grade=grade, judge=judge, shown=SHOWN, **more)


@pytest.mark.slow
def test_a_grade_is_on_disk_when_it_is_acknowledged_and_can_be_taken_back(client, index):
    first, second, *_ = documents(client)
    done = judge(client, first, 3)
    assert {"id", "time"} <= done.keys()
    assert {"query": "red fox", "document_id": first, "grade": 3, "judge": "anna", "weak": False}.items() <= done.items()
    other = Judgements.open(index)
    assert [(g.document_id, g.grade) for g in other.grades("red fox")] == [(first, 3)]
    judge(client, second, 1, weak=True)
    assert sorted(get(client, "", query="red fox")["judgements"], key=lambda grade: -grade["grade"]) == [
        {"document_id": first, "grade": 3, "judge": "anna", "time": done["time"], "weak": False, "stale": False},
        {**get(client, "", query="red fox")["judgements"][sorted([first, second]).index(second)], "weak": True, "grade": 1},
    ]
    assert post(client, "/undo", judge="anna")["document_id"] == first
    assert judge(client, second, None, weak=True)["grade"] is None
    assert get(client, "", query="red fox") == {"judgements": []}
    assert other.grades("red fox") == []
    other.close()
    assert "there is nothing left to undo" in post(client, "/undo", 404, judge="nobody")["message"]


@pytest.mark.slow
def test_query_sets_and_progress(client):
    assert post(client, "/queries", texts=["one", "two"], set="mine") == {"added": 2}
    assert post(client, "/queries", texts=["two", "three"], set="mine") == {"added": 1}
    found = get(client, "/queries", set="mine")["queries"]
    assert [(query["text"], query["judged"]) for query in found] == [("one", 0), ("two", 0), ("three", 0)]
    judge(client, documents(client)[0], 2, query="two")
    assert get(client, "/queries", set="mine")["queries"][1]["judged"] == 1
    progress = get(client, "/progress")
    assert {"name": "mine", "queries": 3, "judged": 1} in progress["sets"]
    assert progress["judged_queries"] <= progress["queries"]
    assert progress["judgements"] >= 1
    post(client, "/undo", judge="anna")


@pytest.mark.slow
def test_a_pool_has_the_hits_of_both_stages_and_a_blind_one_does_not_tell(client):
    open_ = post(client, "/pool", query="red fox", pipelines=["small", "bm25"], depth=3, blind=False)["hits"]
    assert all(hit["stages"] for hit in open_)
    ranks = [stage.get("first_stage_rank", stage["rank"]) for hit in open_ for stage in hit["stages"].values()]
    assert {1, 2, 3} <= set(ranks)
    assert {stage["rank"] for hit in open_ for stage in [hit["stages"]["small"]]} >= {1, 2, 3}
    blind = post(client, "/pool", query="red fox", pipelines=["small", "bm25"], depth=3, blind=True)["hits"]
    assert sorted(hit["id"] for hit in blind) == sorted(hit["id"] for hit in open_)
    assert [set(hit) for hit in blind] == [{"id", "content", "meta", "grade"}] * len(blind)
    assert all(not any("rank" in name or "score" in name for name in hit["meta"]) for hit in blind)
    judge(client, blind[0]["id"], 2)
    again = post(client, "/pool", query="red fox", pipelines=["bm25", "small"], depth=3, blind=True)["hits"]
    assert again == [{**blind[0], "grade": 2}, *blind[1:]]
    post(client, "/undo", judge="anna")


@pytest.mark.slow
def test_fifty_queries_judged_over_http_are_the_same_as_in_files(client, index, cross_encoder, rerank, tmp_path):
    chance, qrels, names = random.Random(2), {}, {}
    for number in range(QUERIES):
        query = f"{' '.join(chance.sample(WORDS[20:], 3))} number {number}"
        hits = post(client, "/pool", query=query, depth=3, blind=True)["hits"]
        grades = grades_of_a_judge(cross_encoder, query, [hit["content"] for hit in hits], chance)
        for hit, grade in zip(hits, grades, strict=True):
            names[query] = f"q{number}"
            qrels.setdefault(f"q{number}", {})[hit["meta"]["doc_id"]] = grade
            judge(client, hit["id"], grade, query=query, judge="script")
    folder = tmp_path / "files"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text((index.parent / "corpus" / "corpus.jsonl").read_text())
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": text}) for text, i in names.items()))
    lines = [f"{query}\t{document}\t{grade}" for query, grades in qrels.items() for document, grade in grades.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    options = ["--index", index, "--pipeline", "bm25", "--pipeline", index.parent / "small.yaml", "--json"]
    done = rerank("eval", folder, *options, "--output", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    found = post(client, "/evaluate", pipelines=["bm25", "small"], split="all")
    assert found["queries"] == theirs["queries"] == sum(any(grades.values()) for grades in qrels.values())
    assert found["queries"] + found["left_out"] == len(names) == QUERIES
    for figure in found["pipelines"]:
        assert figure["ndcg@10"] == pytest.approx(theirs["systems"][figure["name"]]["measures"]["nDCG@10"], abs=1e-9)
        assert figure["interval"][0] <= figure["ndcg@10"] <= figure["interval"][1]
    (difference,) = found["differences"]
    assert {"a": "bm25", "b": "small"}.items() <= difference.items()
    assert difference["needs"] is None or difference["needs"] > 0
    assert "judged queries" in found["words"]

    calibrated = post(client, "/calibrate", pipeline="small")
    assert Calibration.load(index / "calibrations" / "small.json").fitted_on["split"] == "dev"
    assert calibrated["file"] == str(index / "calibrations" / "small.json")
    assert calibrated["figures"]["queries"] > 0

    answer = client.get("/judgements/export")
    assert answer.headers["content-type"] == "application/zip"
    assert "attachment" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "exported")
    exported = BeirDataset(tmp_path / "exported")
    assert {**exported.qrels("dev"), **exported.qrels("test")} == IndexDataset(index).qrels("all")
    texts = {query.id: query.text for query in exported.queries().values()}
    ours = {names[texts[query]]: grades for query, grades in IndexDataset(index).qrels("all").items()}
    assert ours == qrels


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("", {"query": "a", "document_id": "none", "grade": 1, "judge": "x"}, "there is no document 'none'"),
        ("", {"query": "a", "document_id": "d", "grade": 4, "judge": "x"}, "grade: Input should be less than or equal to 3"),
        ("", {"query": "a", "document_id": "d", "grade": True, "judge": "x"}, "grade: "),
        ("", {"query": "a", "document_id": "d", "judge": "x"}, "grade: Field required"),
        ("", {"query": " ", "document_id": "d", "grade": 1, "judge": "x"}, "query is empty"),
        ("", {"query": "a", "document_id": "d", "grade": 1, "judge": "a\nb"}, "judge 'a\\nb' must be at most 200"),
        ("/queries", {"texts": []}, "texts: "),
        ("/queries", {"texts": ["a", ""]}, "query is empty"),
        ("/queries", {"texts": ["a"], "set": "\x1b[2J"}, "set '\\x1b[2J' must be"),
        ("/pool", {"query": "a", "pipelines": ["none"]}, "unknown pipeline 'none': choose one of ['small', 'bm25']"),
        ("/evaluate", {"pipelines": ["none"]}, "unknown pipeline 'none'"),
        ("/evaluate", {"split": "train"}, "split: Input should be 'all', 'dev' or 'test'"),
        ("/calibrate", {}, "pipeline: Field required"),
    ],
)
def test_what_is_wrong_is_named(client, path, body, message):
    answer = client.post(f"/judgements{path}", json=body)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["message"]


def test_a_query_has_to_be_asked_for(client):
    answer = client.get("/judgements")
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "query is missing: write the query into the address, ?query=TEXT",
    )
    assert client.get("/judgements/queries", params={"set": "none"}).status_code == 400


def test_judgements_need_a_key_and_an_index(index, url):
    assert httpx.get(f"{url}/judgements/progress").status_code == 401
    assert httpx.get(f"{url}/judgements/progress", headers={"Authorization": f"Bearer {KEY}"}).status_code == 404


@pytest.mark.slow
def test_a_server_can_leave_judging_out(index):
    service = SearchService(index, ["bm25"], max_waiting=5)
    with running({"tiny": FullEngine()}, keys=(), searches=service, page=PageSettings(judging=False)) as url:
        assert httpx.get(f"{url}/judgements/progress").status_code == 404
        assert httpx.post(f"{url}/search", json={"query": "red fox"}).status_code == 200
