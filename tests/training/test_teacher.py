"""A teacher scores each pair of texts once, and again if texts or teacher change."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import write_cross_encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.errors import InputFileError
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.data.teacher import add_teacher_scores, read_scores, scores_file

PAIRS = [
    LabelledPair("red fox", "the old fox", 1.0),
    LabelledPair("red fox", "the sea", 0.0),
    LabelledPair("sea", "sky", 0.5),
]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory) -> list[Path]:
    """Two models with the same name, in the folders of two organisations."""
    folder = tmp_path_factory.mktemp("teachers")
    return [write_cross_encoder(folder / name / "reranker", seed=seed) for name, seed in (("orgA", 1), ("orgB", 2))]


def ask(teacher: Path, output: Path, pairs=PAIRS) -> tuple[list[float], list[tuple[int, int]]]:
    """Return the scores, and the progress reports."""
    asked = []
    taught = add_teacher_scores(pairs, str(teacher), output, on_progress=lambda *numbers: asked.append(numbers))
    return [pair.teacher_score for pair in taught], asked


@pytest.mark.slow
def test_l9_teachers_with_the_same_name_share_no_scores(teachers, tmp_path):
    first, second = (ask(teacher, tmp_path)[0] for teacher in teachers)
    assert first == ask(teachers[0], tmp_path / "alone")[0]
    assert second == ask(teachers[1], tmp_path / "alone too")[0]
    assert first != second


@pytest.mark.slow
def test_l9_a_teacher_whose_files_changed_scores_again(teachers, tmp_path):
    teacher = tmp_path / "reranker"
    shutil.copytree(teachers[0], teacher)
    before, _ = ask(teacher, tmp_path)
    assert ask(teacher, tmp_path) == (before, [])
    shutil.copy(teachers[1] / "model.safetensors", teacher)
    after, asked = ask(teacher, tmp_path)
    assert (after == before, len(asked)) == (False, 2)


@pytest.mark.slow
@pytest.mark.parametrize("edited", [LabelledPair("sea?", "sky", 0.5), LabelledPair("sea", "sky.", 0.5)])
def test_l9_an_edited_query_or_passage_is_scored(teachers, tmp_path, edited):
    ask(teachers[0], tmp_path)
    scores, asked = ask(teachers[0], tmp_path, [*PAIRS[:2], edited])
    assert asked == [(1, 1)]
    assert scores == pytest.approx(ask(teachers[0], tmp_path / "alone", [*PAIRS[:2], edited])[0], abs=1e-3)


@pytest.fixture(scope="module")
def kept(teachers, tmp_path_factory) -> bytes:
    """The file of a teacher that has scored all pairs."""
    output = tmp_path_factory.mktemp("kept")
    ask(teachers[0], output)
    return scores_file(str(teachers[0]), output).read_bytes()


@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(part=st.floats(0, 1))
def test_a_kill_while_the_file_is_written_loses_at_most_the_last_line(teachers, kept, tmp_path_factory, part):
    output = tmp_path_factory.mktemp("cut")
    file = scores_file(str(teachers[0]), output)
    file.parent.mkdir()
    file.write_bytes(kept[: round(len(kept) * part)])
    ask(teachers[0], output)
    assert sorted(read_scores(file)) == sorted((pair.query, pair.passage) for pair in PAIRS)


def test_a_damaged_file_of_scores_is_named_with_what_to_do(teachers, kept, tmp_path):
    file = scores_file(str(teachers[0]), tmp_path)
    file.parent.mkdir()
    file.write_bytes(kept.replace(b'"score"', b'"sc\x00re"', 1))
    with pytest.raises(InputFileError, match=r"line 1: .*delete the file, and the pairs are scored again"):
        ask(teachers[0], tmp_path)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 10**400, True, "3", None])
def test_a_score_that_is_not_finite_is_refused_with_its_line(tmp_path, score):
    path = tmp_path / "scores.jsonl"
    path.write_text(json.dumps({"query": "q", "passage": "p", "score": score}))
    with pytest.raises(InputFileError, match=r"scores\.jsonl, line 1: "):
        read_scores(path)
