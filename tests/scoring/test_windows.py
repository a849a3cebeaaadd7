from itertools import pairwise

import pytest
from conftest import SENTENCES
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer
from rerank_plugin.scoring.types import ScoringRequest
from rerank_plugin.scoring.windows import WindowSettings, aggregate, cut_windows

QUERY = "which city is the capital of france?"


@given(st.integers(0, 3000), st.integers(1, 500), st.integers(0, 400))
def test_windows_cover_the_text_and_fit(length, room, overlap):
    windows = cut_windows(length, room=room, overlap=overlap)
    assert windows[0][0] == 0
    assert windows[-1][1] == length
    assert all(stop - start <= room for start, stop in windows)
    assert all(after[0] <= before[1] for before, after in pairwise(windows))
    assert len({stop - start for start, stop in windows}) == 1


@given(st.integers(1, 3000), st.integers(20, 500), st.integers(0, 60))
def test_neighbours_share_about_the_overlap_and_no_window_is_superfluous(length, room, overlap):
    windows = cut_windows(length, room=room, overlap=overlap)
    shared = min(overlap, room // 2)
    assert len(windows) == 1 or (len(windows) - 1) * (room - shared) + shared < length
    assert all(b[1] - a[0] >= shared - 1 for b, a in pairwise(windows))


def test_aggregations():
    logits = [0.5, 3.0, -1.0, 2.0]
    assert aggregate(logits, WindowSettings("max")) == (3.0, 1)
    assert aggregate(logits, WindowSettings("mean_top_k", best=2)) == (2.5, 1)
    assert aggregate(logits, WindowSettings("mean_top_k", best=9)) == (1.125, 1)


@pytest.mark.parametrize(
    ("settings", "named"), [({"aggregation": "sum"}, "sum"), ({"overlap": -1}, "-1"), ({"best": 0}, "0")]
)
def test_invalid_settings_are_errors(settings, named):
    with pytest.raises(InvalidValueError, match=named):
        WindowSettings(**settings)


@pytest.fixture(scope="module")
def scorers(cross_encoder):
    def make(aggregation, **settings):
        windows = WindowSettings(aggregation, overlap=8, **settings)
        return load_scorer(ModelSpec(str(cross_encoder)), ScorerSettings(backend="torch", windows=windows))

    return make


def test_the_best_window_of_a_long_passage_gives_its_score(scorers):
    long = " ".join([*SENTENCES[1:] * 3, SENTENCES[0], *SENTENCES[1:] * 3])
    scorer = scorers("max")
    (scores,) = scorer.score([ScoringRequest(QUERY, [long, SENTENCES[0]])])
    window = scores.windows[0]
    assert scores.windows[1] is None
    start, stop = scorer.characters(long, window)
    assert scorer.logits(QUERY, [long[start:stop]])[0] == pytest.approx(scores.logits[0], abs=1e-4)
    length, room = sizes(scorer, long)
    parts = [scorer.tokenizer.characters(long, a, b) for a, b in cut_windows(length, room=room, overlap=8)]
    assert (window.start, window.stop) in cut_windows(length, room=room, overlap=8)
    alone = scorer.logits(QUERY, [long[a:b] for a, b in parts])
    assert scores.logits[0] == pytest.approx(alone.max(), abs=1e-4)
    mean = sum(sorted(alone)[-2:]) / 2
    assert scorers("mean_top_k", best=2).logits(QUERY, [long])[0] == pytest.approx(mean, abs=1e-4)
    assert scorers("first").logits(QUERY, [long])[0] != pytest.approx(scores.logits[0], abs=1e-4)


def sizes(scorer, text):
    query, passage = scorer.tokenizer.encode([QUERY, text])
    return len(passage), scorer.tokenizer.input_spec.max_length - scorer.tokenizer.special_tokens - len(query)


def test_a_long_query_is_cut_with_one_warning(scorers, caplog):
    scorer, long = scorers("max"), " ".join(SENTENCES * 4)
    scorer.logits(long, [SENTENCES[0]])
    scorer.logits(long, [SENTENCES[1]])
    (record,) = [record for record in caplog.records if "query" in record.message]
    assert "was cut to 30" in record.message  # half of the 64 tokens that the model reads, less three special ones
