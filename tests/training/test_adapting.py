import json
import random
import shutil
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_cross_encoder
from haystack import Document
from http_server import QuietHandler, served

from rerank_plugin.collections.jsonl import read_jsonl
from rerank_plugin.errors import InvalidValueError, ServerError
from rerank_plugin.evaluation.comparison import Difference
from rerank_plugin.indexing import index_paths
from rerank_plugin.judgements.dataset import IndexDataset
from rerank_plugin.judgements.judgements import Judgement, Judgements
from rerank_plugin.scoring.calibration import Calibration
from rerank_plugin.training.adapting.corpus import open_corpus
from rerank_plugin.training.adapting.language_model import written_queries
from rerank_plugin.training.adapting.lists import AskedList, CandidateList, make_list, measured_candidates
from rerank_plugin.training.adapting.material import learned_queries, measured_texts, with_judgements
from rerank_plugin.training.adapting.measuring import fitted_calibration
from rerank_plugin.training.adapting.opinions import Ensemble, targets
from rerank_plugin.training.adapting.pseudo_queries import HEADING, HOW_TO, QUESTION, SENTENCE, generate
from rerank_plugin.training.adapting.request import AdaptRequest, LanguageModel
from rerank_plugin.training.adapting.verdict import GENERAL, JUDGED, PSEUDO, QUESTIONS, Check, judge
from rerank_plugin.training.adapting.weights import centred_opinions, fit_weights
from rerank_plugin.training.fitting.dev import DevCollection
from rerank_plugin.training.recipe.request import Measured

PLACES = {
    "Paris": "coffee and bread",
    "Berlin": "beer and water",
    "Rome": "wine and coffee",
    "Madrid": "tea and cake",
    "Vienna": "cake and coffee",
    "Prague": "beer and bread",
    "Lisbon": "fish and wine",
    "Dublin": "milk and tea",
    "Oslo": "fish and water",
    "Athens": "bread and fire",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("adapting") / "base", seed=3, spread=0.1)


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> Path:
    """A file of documentation for each of ten cities."""
    folder = tmp_path_factory.mktemp("adapting") / "cities"
    folder.mkdir()
    for city, food in PLACES.items():
        (folder / f"{city}.md").write_text(
            f"# The city of {city}\n\n## Eating in {city}\n\nPeople of {city} eat {food} every day. The queen of {city} sleeps near the old "
            f"library of {city}. What do people eat in {city}? They like {food} more than all else in the world.\n\n"
            f"## Getting to {city}\n\nThe river runs past {city} to the sea. A fast train goes to {city} from the north every "
            f"day. Small boats to {city} are slow. The mountain is far from {city}.\n"
        )
    return folder


def passage(id_: str, content: str, **meta: str) -> Document:
    return Document(id=id_, content=content, meta=meta)


@pytest.mark.slow
def test_files_become_a_model_with_a_verdict(rerank, base, documents, tmp_path):
    output = tmp_path / "adapted"
    options = ["--model", base, "--lists", 6, "--minutes", 0.1, "--language", "de", "--pipeline", "bm25_rerank"]
    done = rerank("adapt", documents, "-o", output, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("verdict: ")
    card = (output / "README.md").read_text()
    assert "held-out pseudo-queries" in card
    assert "general guard set: sample corpus" in card
    assert "`calibration.json`" in card

    from sentence_transformers import CrossEncoder

    assert len(CrossEncoder(str(output)).predict([("eat in Paris", "bread")])) == 1
    again = rerank("adapt", documents, "-o", output, *options, "--json")
    assert json.loads(again.stdout)["lists"] == 6
    other = rerank("adapt", documents, "-o", output, *options, "--seed", 1)
    assert other.returncode == 1
    assert "other settings (seed)" in other.stderr


@pytest.mark.slow
def test_an_index_is_adapted_to_with_judged_queries_and_a_log(rerank, base, collection, tmp_path):
    index, log = tmp_path / "index", tmp_path / "log.txt"
    assert rerank("index", collection, "--index", index, "--pipeline", "indexing_keyword").returncode == 0
    log.write_text("where are the books\n\nsmall red fox\n")
    options = ["--model", base, "--lists", 5, "--minutes", 0.1, "--language", "de", "--pipeline", "bm25_rerank", "--json"]
    done = rerank("adapt", index, "-o", tmp_path / "adapted", *options, "--judged", f"{collection}:dev", "--queries", log)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [check["role"] for check in result["checks"]] == [PSEUDO, JUDGED, GENERAL]
    rows = [record["row"] for _, record in read_jsonl(tmp_path / "adapted" / "adapting" / "lists.jsonl")]
    assert "where are the books" not in {row["query"] for row in rows}, "a judged query must not be trained on"


@pytest.mark.slow
def test_the_judgements_of_an_index_are_learned_from_and_decide(rerank, base, documents, tmp_path):
    index = tmp_path / "index"
    assert rerank("index", documents, "--index", index, "--pipeline", "indexing_keyword").returncode == 0
    with closing(Judgements.open(index)) as judgements:
        passages = list(judgements.store.read_all())
        for word in ("eat", "go", "see", "like"):
            for city in PLACES:
                relevant = next(document for document in passages if f"eat in {city}" in document.content)
                judgements.judge(f"what do people {word} in {city}", Judgement(relevant.id, 3, judge="anna"))
    learned = {query.text for query in IndexDataset(index).queries("dev").values()}
    options = ["--model", base, "--lists", 8, "--minutes", 0.1, "--language", "de", "--json"]
    done = rerank("adapt", index, "-o", tmp_path / "adapted", *options)
    assert done.returncode == 0, done.stderr
    checks = {check["role"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks[JUDGED]["queries"] == len(IndexDataset(index).queries("test")) == 40 - len(learned)
    rows = [record["row"] for _, record in read_jsonl(tmp_path / "adapted" / "adapting" / "lists.jsonl")]
    assert {row["kind"] for row in rows} == {"judged"}
    assert {row["query"] for row in rows} <= learned, "half of the judged queries are for the verdict alone"
    assert all(row["passages"][0].count(row["query"].rpartition(" ")[2]) for row in rows), (
        "the relevant passage is the first"
    )


def test_a_query_that_is_measured_with_is_not_learned_from(base, collection, tmp_path):
    index_paths([collection], tmp_path / "index", pipeline="indexing_keyword")
    one_measured = shutil.copytree(collection, tmp_path / "copy")
    lines = (collection / "qrels" / "test.tsv").read_text().splitlines(keepends=True)
    (one_measured / "qrels" / "test.tsv").write_text("".join(lines[:2]))
    request = AdaptRequest(
        (tmp_path / "index",), tmp_path / "adapted", model=str(base), judged=Measured(str(one_measured), "test")
    )
    corpus = open_corpus(request, None)
    measured = measured_texts(request)
    learned = learned_queries(corpus, Measured(str(collection), "dev"), measured, None)
    assert len(measured) == 1
    everything = measured_texts(replace(request, judged=Measured(str(collection), "test")))
    assert {query.text.casefold() for query in learned} == everything - measured
    with pytest.raises(InvalidValueError, match=rf"all {len(everything)} queries of tiny, dev are also those"):
        learned_queries(corpus, Measured(str(collection), "dev"), everything, None)


def test_few_judgements_are_left_alone(collection, tmp_path):
    index_paths([collection], tmp_path / "index", pipeline="indexing_keyword")
    with closing(Judgements.open(tmp_path / "index")) as judgements:
        document = next(iter(judgements.store.read_all()))
        judgements.judge("where are the books", Judgement(document.id, 3, judge="anna"))
    request = AdaptRequest((tmp_path / "index",), tmp_path / "adapted")
    assert with_judgements(request, tmp_path / "index") == request
    assert with_judgements(request, None) is request
    own = replace(request, judged=Measured("judged", "test"))
    assert with_judgements(own, tmp_path / "index") is own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["missing"], "missing does not exist"),
        (["pipeline.yaml", "notes.txt"], "adapt to one index, to one pipeline YAML"),
        (["notes.txt", "--llm-url", "http://127.0.0.1:1/v1"], "needs both --llm-url and --llm-model"),
        (["notes.txt", "--minutes", "0"], "minutes must be a finite number above 0"),
    ],
)
def test_what_cannot_be_adapted_to_is_refused(rerank, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    for name in ("pipeline.yaml", "notes.txt"):
        Path(name).write_text("a note")
    done = rerank("adapt", *options, "-o", "out")
    assert done.returncode != 0
    assert message in done.stderr
    assert not Path("out").exists()


def test_headings_and_questions_are_queries_and_are_taken_out_of_their_passage():
    body = "It is done in one call, and the space is given back to the system at once. The table stays locked for that time."
    one = passage("a", f"2.1. Shrinking a table\n\n{body}", section="Tables > 2.1. Shrinking a table", title="Manual")
    two = passage("b", f"How can a row be moved to another table? {body}", section="Tables > Moves", title="Manual")
    queries = list(generate([one, two], seed=1))
    heading = next(query for query in queries if query.kind == HEADING and query.source == "a")
    assert heading.text == "Shrinking a table"
    assert heading.shown(one, one.content) == body
    question = next(query for query in queries if query.kind == QUESTION)
    assert question.text == "How can a row be moved to another table?"
    assert question.shown(two, two.content) == body
    assert question.shown(one, one.content) == one.content
    assert len({query.text.casefold() for query in queries}) == len(queries)
    assert queries == list(generate([one, two], seed=1))


@pytest.mark.parametrize(
    ("sentence", "query"),
    [
        ("To restore a dump of one table, give its name to the tool.", "how do I restore a dump of one table?"),
        ("If you want to see all the locks, ask the view of the system.", "how do I see all the locks?"),
        ("Чтобы вернуть одну таблицу из копии, укажите её имя.", "как вернуть одну таблицу из копии?"),
        ("To find out why the mice slept, we measured their temperature.", None),
        ("To restore, give the name of the dump to the tool.", None),
    ],
)
def test_what_a_sentence_is_for_is_a_query_and_the_rest_of_it_stays(sentence, query):
    other = "It is done in one call and takes as long as the table is large, so that the others wait for it."
    one = passage("a", f"{sentence} {other}")
    found = [made for made in generate([one], seed=1) if made.kind == HOW_TO]
    assert [made.text for made in found] == ([query] if query else [])
    for made in found:
        assert made.shown(one, one.content) == f"{sentence.partition(', ')[2]} {other}"


class Passages:
    """A corpus in memory, which finds all of its passages for any query."""

    def __init__(self, passages):
        self.passages = passages

    def text(self, document):
        title = document.meta.get("title")
        return f"{title}\n{document.content}" if title else document.content

    def candidates(self, query, depth):
        return [replace(document, score=1 / (1 + i)) for i, document in enumerate(self.passages[:depth])]


WORDS = (
    "river mountain library train coffee bread queen castle garden window market bridge harbour forest island tower".split()
)


def titled(number: int) -> Document:
    rng = random.Random(number)
    content = " ".join(rng.choices(WORDS, k=14)).capitalize() + "."
    return passage(str(number), content, title=f"The {WORDS[number]} of the north")


def test_no_passage_shows_its_title_for_a_query_that_is_a_title():
    corpus = Passages([titled(number) for number in range(10)])
    query = next(query for query in generate(corpus.passages, seed=1) if query.kind == HEADING)
    row = make_list(corpus, query, {document.id: document for document in corpus.passages}, seed=1)
    assert row.has_source
    assert len(row.passages) == 8
    bodies = {document.content for document in corpus.passages}
    assert set(row.passages) <= bodies, "a passage with a title would be told from the one that has lost its own"
    measured = measured_candidates(corpus, [query], name="titles", on_progress=lambda *_: None)
    assert set(measured.texts.values()) == bodies


def test_a_passage_that_is_its_query_is_not_ranked_for_it():
    corpus = Passages(
        [passage(str(number), f"The {word} is never far from the {WORDS[-1]} here.") for number, word in enumerate(WORDS)]
    )
    queries = [query for query in generate(corpus.passages, seed=1) if query.kind == SENTENCE]
    assert queries
    for query in queries:
        assert query.is_passage
        row = make_list(corpus, query, {document.id: document for document in corpus.passages}, seed=1)
        assert not row.has_source
        assert query.text not in row.passages


def asked(number: int, *, kind: str = QUESTION) -> AskedList:
    """The second model knows the answer, the first one and the third are blind."""
    rng = random.Random(number)
    blind = [[rng.gauss(0, 2) for _ in range(8)] for _ in range(2)]
    knows = [rng.gauss(3.0 if place == 0 else 0.0, 1) for place in range(8)]
    row = CandidateList(f"query {number}", kind, [f"passage {place}" for place in range(8)], [0.0] * 8, True)
    return AskedList(row, [blind[0], knows, blind[1]])


def test_the_model_that_knows_the_answers_counts_most():
    lists = [asked(number) for number in range(60)]
    first, knows, blind = fit_weights(lists, [0.75, 0.25, 0.25])
    assert knows > 0.7
    assert first < 0.2
    assert blind < 0.2
    spread = lambda weights: np.mean([(np.array(weights) @ centred_opinions(one)).std() for one in lists])  # noqa: E731
    assert spread([first, knows, blind]) == pytest.approx(spread([1, 0, 0]), rel=1e-3)


def test_weights_are_not_fitted_without_answers():
    prior = [0.75, 0.25, 0.25]
    assert fit_weights([asked(number) for number in range(29)], prior) == prior
    for kind in (SENTENCE, HEADING):
        assert fit_weights([asked(number, kind=kind) for number in range(60)], prior) == prior


def test_pseudo_queries_calibrate_probabilities_and_nothing_of_the_first_stage():
    places = [f"p{place}" for place in range(6)]
    dev = DevCollection("made", "bm25", {}, {}, {}, {})
    logits = {}
    for number in range(30):
        query = f"query {number}"
        dev.queries[query], dev.candidates[query] = query, {place: 6.0 - i for i, place in enumerate(places)}
        dev.qrels[query] = {places[number % 6]: 1}
        logits[query] = [random.Random(f"{query} {i}").gauss(4.0 if i == number % 6 else 0.0, 2) for i in range(6)]
    former = Calibration(scale=9.0, fusion_weights={"log_linear": 0.35})
    pseudo = fitted_calibration(PSEUDO, dev, logits, former)
    judged = fitted_calibration(JUDGED, dev, logits, former)
    assert 0 < pseudo.scale < 9
    assert pseudo.scale == judged.scale
    assert (pseudo.fusion_weights, pseudo.depth) == ({"log_linear": 0.35}, None)
    assert set(judged.fusion_weights) == {"rrf", "linear", "log_linear"}


def test_only_a_passage_that_is_known_to_answer_leads():
    for kind, leads in ((HEADING, True), (HOW_TO, True), (SENTENCE, False)):
        row = CandidateList("query", kind, ["source", "a", "b"], [0.0, 1.0, 0.0], True)
        values = targets(AskedList(row, [[-5.0, 5.0, 0.0]]), [1.0])
        assert (values[0] > max(values[1:])) == leads
        assert values[1] > values[2]


def test_a_heading_of_many_passages_asks_for_none_of_them():
    passages = [passage(str(i), f"The number {i} is shown here.", section="See also this") for i in range(9)]
    assert not [query for query in generate(passages, seed=1) if query.kind == HEADING]


@contextmanager
def server(answer):
    """A server that answers every POST with what `answer` makes of its path and body."""
    requests = []

    class Handler(QuietHandler):
        def do_POST(self):  # noqa: N802 - the name of the standard library
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(body)
            content = json.dumps(answer(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with served(Handler) as address:
        yield address, requests


def completion(text):
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "writer", "choices": [choice]}


@pytest.mark.slow
def test_a_language_model_writes_within_its_budget_and_is_never_paid_twice(tmp_path):
    passages = [passage(str(i), f"passage {i}") for i in range(12)]
    questions = {str(i): [f"question {i}?", "  ", "third", "fourth"] for i in range(1, 6)}
    with server(lambda _path, _body: completion(f"Here: {json.dumps(questions)}")) as (address, requests):
        model = LanguageModel(f"{address}/v1", "writer", calls=2)
        ask = lambda: list(written_queries(passages, model, tmp_path / "kept.jsonl", on_progress=lambda *_: None))  # noqa: E731
        written = ask()
        assert len(requests) == 2, "12 passages would need three calls"
        assert [(query.text, query.source) for query in written[:2]] == [("question 1?", "0"), ("third", "0")]
        assert ask() == written
        assert len(requests) == 2


@pytest.mark.slow
def test_a_language_model_that_does_not_follow_the_instruction_is_an_error(tmp_path):
    with server(lambda _path, _body: completion("I would rather not.")) as (address, _), pytest.raises(ServerError) as error:
        list(
            written_queries(
                [passage("a", "text")],
                LanguageModel(f"{address}/v1", "writer"),
                tmp_path / "kept.jsonl",
                on_progress=lambda *_: None,
            )
        )
    assert "I would rather not." in str(error.value)


@pytest.mark.slow
def test_the_opinion_of_a_server_counts_and_the_source_stays_first(base):
    def rank(_path, body):
        return [{"index": i, "score": 9.0 if "gold" in text else -9.0} for i, text in enumerate(body["texts"])]

    row = CandidateList("red fox", "heading", ["the red fox", "a gold coin", "the old dog"], [3.0, 1.0, 0.0], True)
    with server(rank) as (address, requests):
        ensemble = Ensemble(str(base), [address], "de")
        opinions = ensemble.asked(row)
        assert requests[0]["raw_scores"] is True
        assert opinions.opinions[1] == [-9.0, 9.0, -9.0]
        assert ensemble.prior == [0.75, 0.25]
        wanted = targets(opinions, ensemble.prior)
        assert wanted[0] > wanted[1] > wanted[2]
        alone = Ensemble(str(base), [], "de")
        other = targets(alone.asked(row), alone.prior)
        assert wanted[1] - wanted[2] > other[1] - other[2] + 3
    with pytest.raises(ServerError, match="cannot be asked"):
        ensemble.asked(row)


def checked(role: str, mean: float, p: float) -> Check:
    difference = Difference("before", "adapted", "nDCG@10", mean, (mean - 0.01, mean + 0.01), p, p, 1, 1, 1)
    return Check(role, "name", 50, 0.4, 0.5, 0.5 + mean, difference)


@pytest.mark.parametrize(
    ("checks", "word"),
    [
        ([checked(QUESTIONS, 0.05, 0.001), checked(GENERAL, 0.0, 1.0)], "better"),
        ([checked(PSEUDO, 0.05, 0.001), checked(GENERAL, 0.0, 1.0)], "no difference"),
        ([checked(QUESTIONS, -0.05, 0.001), checked(GENERAL, 0.0, 1.0)], "worse"),
        ([checked(QUESTIONS, 0.05, 0.001), checked(JUDGED, 0.0, 0.9), checked(GENERAL, 0.0, 1.0)], "no difference"),
        ([checked(PSEUDO, 0.05, 0.2), checked(GENERAL, 0.0, 1.0)], "no difference"),
        ([checked(PSEUDO, 0.05, 0.001), checked(GENERAL, -0.03, 0.01)], "worse"),
        ([checked(PSEUDO, 0.05, 0.001), checked(JUDGED, 0.0, 0.9), checked(GENERAL, 0.0, 1.0)], "no difference"),
        ([checked(PSEUDO, 0.0, 0.9), checked(JUDGED, 0.04, 0.01), checked(GENERAL, 0.0, 1.0)], "better"),
        ([checked(PSEUDO, 0.05, 0.001), checked(JUDGED, -0.04, 0.01), checked(GENERAL, 0.0, 1.0)], "worse"),
    ],
)
def test_judged_queries_decide_and_what_is_worse_anywhere_is_not_recommended(checks, word):
    assert judge(checks).word == word


def test_a_wrong_address_of_a_language_model_is_refused():
    with pytest.raises(InvalidValueError, match="must be like http"):
        LanguageModel("127.0.0.1:8000", "writer")
