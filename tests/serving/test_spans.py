"""Cohere's relevant_spans: sentences by their code points."""

from haystack import Document

QUERY = "where are the books"
TEXT = "The sky is blue. 😀 A library is where\nthe books are! Coffee and tea are drinks."


def test_spans_are_sentences_of_the_text_with_the_scores_of_the_ranker(http, ranker):
    body = {"query": QUERY, "documents": [TEXT, "The red fox sleeps under the moon."], "relevant_spans": {"threshold": 0}}
    for result in http.post("/v2/rerank", json=body).json()["results"]:
        spans = result["relevant_spans"]
        text = body["documents"][result["index"]]
        assert [span["score"] for span in spans] == sorted((span["score"] for span in spans), reverse=True)
        for span in spans:
            sentence = text[span["start"] : span["end"]]
            assert sentence
            assert (
                abs(ranker.run(query=QUERY, documents=[Document(content=sentence)])["documents"][0].score - span["score"])
                < 1e-6
            )
        if result["index"] == 0:
            found = {text[span["start"] : span["end"]] for span in spans}
            assert "A library is where\nthe books are!" in {sentence.removeprefix("😀 ") for sentence in found}
            assert len(found) == 3


def test_threshold_and_number_are_kept(http):
    body = {"query": QUERY, "documents": [TEXT], "relevant_spans": {"mode": "enabled", "threshold": 0, "max_spans": 1}}
    (result,) = http.post("/v2/rerank", json=body).json()["results"]
    assert len(result["relevant_spans"]) == 1
    body["relevant_spans"] = {"threshold": 1.1}
    assert http.post("/v2/rerank", json=body).json()["results"][0]["relevant_spans"] == []
    body["relevant_spans"] = {"mode": "disabled"}
    assert "relevant_spans" not in http.post("/v2/rerank", json=body).json()["results"][0]


def test_a_text_without_sentences_is_one_span(http):
    body = {"query": QUERY, "documents": ["books", "", "  "], "relevant_spans": {"threshold": 0}}
    results = {result["index"]: result for result in http.post("/v2/rerank", json=body).json()["results"]}
    assert [(span["start"], span["end"]) for span in results[0]["relevant_spans"]] == [(0, 5)]
    assert results[1]["relevant_spans"] == results[2]["relevant_spans"] == []
