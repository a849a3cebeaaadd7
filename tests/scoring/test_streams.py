"""How many batches at once: what is fastest on the machine, tried once and kept."""

import json

import pytest
from conftest import SENTENCES

from rerank_plugin.scoring.backends.streams import StreamFacts, choose_streams, stream_counts, usual_streams
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer

FACTS = StreamFacts("a processor", 8, "openvino 1 fp32")


class Machine:
    """Takes so many seconds with each number of streams; the first run of each is slow."""

    def __init__(self, seconds):
        self.seconds, self.runs = seconds, []

    def __call__(self, streams):
        self.runs.append(streams)
        return self.seconds[streams] * (1 if streams in self.runs[:-1] else 100)


def choose(file, machine, facts=FACTS, expected=0.01):
    return choose_streams(file, facts, machine, lambda: expected)


@pytest.mark.parametrize(("threads", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])])
def test_the_usual_number_is_one_of_those_that_are_tried(threads, counts):
    assert stream_counts(threads) == counts
    assert usual_streams(threads) in counts


def test_the_fastest_is_tried_once_and_kept(tmp_path):
    file, machine = tmp_path / "streams.json", Machine({1: 4.0, 2: 3.0, 4: 2.0, 8: 1.0})
    assert choose(file, machine) == 8
    assert set(machine.runs) == {1, 2, 4, 8}
    runs = len(machine.runs)
    assert choose(file, machine) == 8
    assert len(machine.runs) == runs


def test_the_usual_number_stays_where_another_is_hardly_faster(tmp_path):
    assert choose(tmp_path / "streams.json", Machine({1: 4.0, 2: 3.0, 4: 1.0, 8: 0.97})) == 4


def test_one_disturbed_run_decides_nothing(tmp_path):
    machine = Machine({1: 4.0, 2: 3.0, 4: 1.0, 8: 2.0})
    disturbed = iter([False] * 5 + [True] * 2)  # the runs that are counted begin after four
    assert choose(tmp_path / "streams.json", lambda streams: machine(streams) * (10 if next(disturbed, False) else 1)) == 4


@pytest.mark.parametrize(
    "facts", [StreamFacts("another", 8, "openvino 1 fp32"), StreamFacts("a processor", 8, "openvino 2 fp32")]
)
def test_another_machine_or_runtime_is_tried_anew(tmp_path, facts):
    file = tmp_path / "streams.json"
    choose(file, Machine({1: 1.0, 2: 2.0, 4: 2.0, 8: 2.0}))
    assert choose(file, Machine({1: 2.0, 2: 1.0, 4: 2.0, 8: 2.0}), facts) == 2
    assert json.loads(file.read_text())["processor"] == facts.processor


@pytest.mark.parametrize("content", ["", "null", "[]", '{"streams": 3}', "{" * 100_000, "\0"])
def test_a_damaged_file_is_as_good_as_none(tmp_path, content):
    file = tmp_path / "streams.json"
    file.write_text(content)
    assert choose(file, Machine({1: 1.0, 2: 2.0, 4: 2.0, 8: 2.0})) == 1
    assert json.loads(file.read_text())["streams"] == 1


def test_a_number_that_the_threads_do_not_allow_is_not_believed(tmp_path):
    file, machine = tmp_path / "streams.json", Machine({1: 1.0, 2: 2.0, 4: 2.0, 8: 2.0})
    choose(file, machine)
    file.write_text(json.dumps({**json.loads(file.read_text()), "streams": 64}))
    assert choose(file, machine) == 1


def test_a_folder_that_cannot_be_written_costs_only_another_trial(tmp_path):
    (tmp_path / "file").write_text("")
    assert choose(tmp_path / "file" / "streams.json", Machine({1: 1.0, 2: 2.0, 4: 2.0, 8: 2.0})) == 1


def test_a_large_model_is_not_tried(tmp_path):
    machine = Machine({1: 1.0, 2: 2.0, 4: 2.0, 8: 2.0})
    assert choose(tmp_path / "streams.json", machine, expected=1.0) == usual_streams(8)
    assert not machine.runs
    assert not (tmp_path / "streams.json").exists()


def test_whatever_number_is_kept_scores_are_the_same(cross_encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path))
    settings = ScorerSettings(backend="openvino", precision="fp32", num_threads=2, max_batch_tokens=32)
    expected = load_scorer(ModelSpec(str(cross_encoder)), settings).logits("moon", SENTENCES * 4)
    load_scorer(ModelSpec(str(cross_encoder)), settings).prepare()
    (file,) = tmp_path.glob("*.streams.json")
    for streams in (1, 2):
        file.write_text(json.dumps({**json.loads(file.read_text()), "streams": streams}))
        scorer = load_scorer(ModelSpec(str(cross_encoder)), settings)
        scorer.prepare()
        assert scorer.logits("moon", SENTENCES * 4) == pytest.approx(expected, abs=1e-5)
