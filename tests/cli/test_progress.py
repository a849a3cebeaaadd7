"""Progress: estimates by the rate, lines without a terminal, bars with one, and what an interruption says."""

import io
import re
import threading
from functools import wraps

import pytest
from conftest import SENTENCES
from haystack import Pipeline
from haystack.components.writers import DocumentWriter
from rich.console import Console
from sample_files import pdf

from rerank_plugin.cli.estimate import Estimate, duration
from rerank_plugin.cli.indexing_progress import indexing_progress
from rerank_plugin.cli.progress import progress_bar, progress_bars
from rerank_plugin.cli.progress_bars import terminal_bars
from rerank_plugin.cli.progress_lines import INTERVAL, progress_lines
from rerank_plugin.cli.progress_state import ProgressState
from rerank_plugin.indexing import index_paths


class FakeClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return FakeClock()


def test_u7_no_estimate_before_anything_is_done_and_one_after_the_first_units(clock):
    estimate = Estimate(clock)
    assert estimate.remaining() is None
    estimate.update(0, 100)
    clock.now += 30
    assert estimate.remaining() is None
    estimate.update(0, 100)  # the model is loaded; its 30 seconds do not count
    clock.now += 2
    estimate.update(10, 100)
    assert estimate.remaining() == pytest.approx(18)
    clock.now += 3
    assert estimate.remaining() == pytest.approx(22.5)
    estimate.update(100, 100)
    assert estimate.remaining() is None


def test_what_an_interrupted_run_did_does_not_count_for_the_rate(clock):
    estimate = Estimate(clock)
    estimate.update(900, 1000)
    clock.now += 10
    estimate.update(910, 1000)
    assert estimate.remaining() == pytest.approx(90)


def test_between_two_reports_the_time_runs_down_and_a_stall_lengthens_it(clock):
    estimate = Estimate(clock)
    estimate.update(0, 100)
    for done in range(10, 60, 10):
        clock.now += 1
        estimate.update(done, 100)
    assert estimate.remaining() == pytest.approx(5)
    clock.now += 1
    assert estimate.remaining() == pytest.approx(4)
    clock.now += 94
    assert estimate.remaining() == pytest.approx(50)


def test_the_rate_is_that_of_the_last_minute(clock):
    estimate = Estimate(clock)
    estimate.update(0, 1000)
    for done in range(100, 600, 100):
        clock.now += 1
        estimate.update(done, 1000)
    for done in range(501, 601):
        clock.now += 1
        estimate.update(done, 1000)
    assert estimate.remaining() == pytest.approx(400)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 s"),
        (4.4, "4 s"),
        (12, "10 s"),
        (57, "55 s"),
        (58, "1 min"),
        (240, "4 min"),
        (3580, "1 h"),
        (5000, "1 h 25 min"),
    ],
)
def test_durations_are_no_more_exact_than_estimates(seconds, text):
    assert duration(seconds) == text


def test_u7_lines_tell_step_counts_activity_and_time(clock):
    state = ProgressState(clock)
    lines, turns = [], iter([0, 5, 10, 15, 20, None])

    def wait(seconds):
        assert seconds == INTERVAL
        turn = next(turns)
        if turn == 5:
            state.begin("Indexing\x1b[2J")
            state.activity = "loading models"
        elif turn == 10:
            state.update("Indexing\x1b[2J", 0, 11_000)
        elif turn == 15:
            clock.now += 5
            state.activity = "embedding"
            state.update("Indexing\x1b[2J", 500, 11_000)
        elif turn == 20:
            state.update("Answering", 3, 3)
            state.activity = ""
        return turn is None

    with progress_lines(state, lines.append, wait=wait):
        pass
    assert lines == [
        "Indexing[2J: loading models",
        "Indexing[2J: 0 of 11,000 (0 %), loading models, no estimate yet",
        "Indexing[2J: 500 of 11,000 (4 %), embedding, about 2 min left",
        "Answering: 3 of 3 (100 %)",
    ]


def test_the_thread_ends_with_the_block_even_after_an_error(clock):
    state = ProgressState(clock)
    first = threading.Event()
    state.begin("Indexing")

    def fail():
        with progress_lines(state, lambda _: first.set(), wait=lambda _: first.is_set()):
            first.wait()
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_quick_command_prints_no_progress(capsys):
    with progress_bars(hidden=False) as on_progress:
        on_progress("Answering", 1, 2)
    with progress_bar("Indexing", hidden=True) as counts:
        counts(1, 2)
    assert capsys.readouterr().err == ""


def test_u7_bars_on_a_terminal_show_the_estimate_and_the_activity(clock):
    out = io.StringIO()
    state = ProgressState(clock)
    console = Console(file=out, force_terminal=True, width=100, color_system=None, legacy_windows=False)
    with terminal_bars(state, console, clock) as changed:
        state.begin("[bold]Indexing")
        state.activity = "loading models"
        changed()
        state.update("[bold]Indexing", 0, 200)
        clock.now += 60
        state.activity = "embedding"
        state.update("[bold]Indexing", 50, 200)
        changed()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert re.search(r"\[bold\]Indexing .* 50/200 embedding about 3 min left", text)


def test_u7_on_80_columns_nothing_of_the_progress_is_cut(clock):
    out = io.StringIO()
    state = ProgressState(clock)
    console = Console(file=out, force_terminal=True, width=80, color_system=None, legacy_windows=False)
    with terminal_bars(state, console, clock) as changed:
        state.update("Indexing", 500, 1500)
        state.activity = "writing 112,000 of 150,947 passages"
        changed()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert " 500/1500 writing 112,000 of 150,947 passages no estimate yet" in text


def write_files(folder, count=3):
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_text(f"{SENTENCES[number]} Once more: {SENTENCES[-number - 1]}")


class RecordingBar:
    """Stands where the bar is, and keeps what it is told."""

    def __init__(self):
        self.calls = []

    def __call__(self, done, total):
        self.calls.append((done, total))

    def activity(self, text):
        self.calls.append(text)


@pytest.mark.slow
def test_u7_indexing_says_what_is_done_and_soon_how_much(tmp_path):
    write_files(tmp_path / "docs")
    bar = RecordingBar()
    with indexing_progress(bar) as progress:
        index_paths([tmp_path / "docs"], tmp_path / "index", pipeline="indexing_keyword", progress=progress)
    assert bar.calls[:3] == ["looking for new and changed files", "loading models", (0, 3)]
    assert bar.calls[3] == (0, 3)  # again, once the models are loaded
    activities = [call for call in bar.calls[3:] if isinstance(call, str)]
    assert activities[-1] == "writing"
    assert set(activities) <= {"converting", "splitting", "writing"}
    assert [call for call in bar.calls[4:] if not isinstance(call, str)] == [(1, 3), (3, 3)]


@pytest.mark.slow
def test_u7_there_is_progress_within_a_large_file(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "manual.pdf").write_bytes(pdf(f"This is page {number}." for number in range(45)))
    (tmp_path / "docs" / "text.txt").write_text("\n\n".join(f"{number} " + "word " * 100 for number in range(1001)))
    bar = RecordingBar()
    with indexing_progress(bar) as progress:
        index_paths([tmp_path / "docs"], tmp_path / "index", pipeline="indexing_keyword", progress=progress)
    within = [call for call in bar.calls if isinstance(call, str) and any(map(str.isdigit, call))]
    assert within == [
        "converting 20 of 45 pages",
        "converting 40 of 45 pages",
        "splitting 1,000 passages",
        "writing 1,000 of 1,001 passages",
        "writing 1,000 keyword entries",
    ]


def interrupt_after(monkeypatch, batches):
    """Interrupt the run when it writes the batch after so many others, as Ctrl-C would."""
    write, written = DocumentWriter.run, []

    @wraps(write)
    def run(self, *arguments, **keywords):
        if len(written) == batches:
            raise KeyboardInterrupt
        written.append(True)
        return write(self, *arguments, **keywords)

    monkeypatch.setattr(DocumentWriter, "run", run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (0, r"error: interrupted before anything was written: run the same command again\n$"),
        (
            1,
            r"error: interrupted; kept in \S+index: 1 passage \(1 file complete, [0-2] in part\)\. Run the same command again",
        ),
    ],
)
def test_u7_an_interruption_says_what_is_kept_and_how_to_go_on(rerank, tmp_path, monkeypatch, batches, message):
    write_files(tmp_path / "docs")
    arguments = ("index", tmp_path / "docs", "--index", tmp_path / "index", "--pipeline", "indexing_keyword")
    with monkeypatch.context() as patch:
        interrupt_after(patch, batches)
        done = rerank(*arguments)
    assert done.returncode == 130
    assert re.search(message, done.stderr), done.stderr
    assert ("3 passages of 3 files written", "2 passages of 2 files written")[batches] in rerank(*arguments).stdout


def test_u7_an_interrupted_search_promises_nothing(rerank, tmp_path, monkeypatch):
    write_files(tmp_path / "docs", 1)
    index_paths([tmp_path / "docs"], tmp_path / "index", pipeline="indexing_keyword")

    def interrupt(self, *arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "run", interrupt)
    done = rerank("search", "paris", "--index", tmp_path / "index", "--pipeline", "bm25")
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
