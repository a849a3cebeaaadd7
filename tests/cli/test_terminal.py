"""Terminal output, and how commands end."""

import ast
import errno
import io
import json
import logging
import os
import random
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from rerank_plugin import HybridDocumentStore
from rerank_plugin.cli import main
from rerank_plugin.cli import printing as terminal
from rerank_plugin.cli.progress import quiet_libraries, show_all_warnings
from rerank_plugin.cli.tables import print_table, show_facts, show_rows
from rerank_plugin.errors import InvalidValueError

HOSTILE = "a\x1b[2J\x1b]0;owned\x07b\x9b31mc\u202ed\r\ne\x00\x7f\u2066f"
CONTROLS = {
    *map(chr, range(32)),
    *map(chr, range(127, 160)),
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
}


@given(st.text(st.characters() | st.sampled_from(sorted(CONTROLS))))
def test_s1_printable_is_one_line_without_controls_and_keeps_the_rest(text):
    shown = terminal.printable(text)
    assert not CONTROLS & set(shown)
    assert [c for c in shown if not c.isspace() and c != "\ufffd"] == [
        c for c in text if c not in CONTROLS and not c.isspace() and not "\ud800" <= c <= "\udfff"
    ]
    shown.encode()
    assert not (CONTROLS - {"\n"}) & set(terminal.printable(text, lines=True))


@pytest.mark.slow
@given(
    st.recursive(
        st.text(st.characters() | st.sampled_from(sorted(CONTROLS))) | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_s1_json_is_exact_and_harmless(value):
    text = terminal.to_json(value)
    assert json.loads(text) == value
    assert not CONTROLS & set(text)
    text.encode()


@pytest.fixture
def hostile_index(tmp_path):
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents([Document(content=f"the fox {HOSTILE} sleeps", meta={"title": HOSTILE})])
    store.close()
    return tmp_path / "index"


def test_s1_a_hostile_document_cannot_command_the_terminal(rerank, hostile_index):
    done = rerank("search", "fox", "--index", hostile_index, "--pipeline", "bm25")
    assert done.returncode == 0, done.stderr
    assert not (CONTROLS - {"\n"}) & set(done.stdout + done.stderr)
    assert "[2J" in done.stdout
    done = rerank("search", "fox", "--index", hostile_index, "--pipeline", "bm25", "--json")
    assert not (CONTROLS - {"\n"}) & set(done.stdout)
    (hit,) = json.loads(done.stdout)["hits"]
    assert hit["title"] == HOSTILE
    assert hit["content"] == f"the fox {HOSTILE} sleeps"


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "fox", "--index", f"/none{HOSTILE}".replace("\0", "")],
        ["search", "fox", "--pipeline", HOSTILE],
        ["search", "fox", "--pipeline", f"{HOSTILE}.yaml"],
        ["search", "fox", "--filters", HOSTILE],
        ["search", "fox", "--filters", json.dumps([HOSTILE])],
        ["search", "fox", f"--{HOSTILE}"],
        ["search", "fox", "--top-k", HOSTILE],
        ["search"],
        [HOSTILE],
        ["doctor", "--index", f"/none{HOSTILE}".replace("\0", "")],
    ],
)
def test_s1_an_error_is_one_harmless_line(rerank, arguments, hostile_index):
    done = rerank(*arguments, *(["--index", hostile_index] if "--filters" in arguments else []))
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (CONTROLS - {"\n"}) & set(done.stderr)


def test_s1_tables_take_no_markup_and_no_controls(capsys):
    show_facts({"[red]part": {HOSTILE: [HOSTILE, 5], "inner": {"[bold]x": None}}})
    show_rows({HOSTILE: [{"[red]column": HOSTILE}], "empty": []})
    out = capsys.readouterr().out
    assert not (CONTROLS - {"\n"}) & set(out)
    assert "[red]part" in out
    assert "[red]column" in out


def test_s1_commands_print_through_one_module():
    """Output that bypasses `printing` would not be stripped of control characters."""
    folder = Path(terminal.__file__).parent
    past = {
        f"{file.name}:{node.lineno}"
        for file in folder.glob("*.py")
        if file.name != "printing.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.echo", "print", "json.dumps"}
    }
    assert past == set()


def test_s1_warnings_are_harmless_lines(capsys):
    with quiet_libraries():
        logging.getLogger("rerank_plugin.scoring.scorer").warning("cut: %s", HOSTILE)
    err = capsys.readouterr().err
    assert err.startswith("warning: cut: a[2J")
    assert err.count("\n") == 1
    assert not (CONTROLS - {"\n"}) & set(err)


@pytest.mark.parametrize("shows_all", [False, True])
def test_warnings_of_other_libraries_are_shown_with_debug_only(capfd, recwarn, shows_all):
    warnings.simplefilter("always")
    show_all_warnings(shows_all)
    try:
        with quiet_libraries():
            logging.getLogger("haystack.core").warning("theirs")
            logging.getLogger("rerank_plugins").error("of another package")
            warnings.warn("a warning of Python", UserWarning, stacklevel=1)
            logging.getLogger("rerank_plugin.store").warning("ours")
    finally:
        show_all_warnings(False)
    err = capfd.readouterr().err
    shown = [text for text in ("theirs", "of another package", "a warning of Python", "ours") if text in err]
    assert shown == (["theirs", "of another package", "a warning of Python", "ours"] if shows_all else ["ours"])
    assert list(recwarn) == []
    warnings.warn("again as before", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in recwarn] == ["again as before"]


@pytest.mark.parametrize(("width", "gap"), [(75, 1), (100, 2)])
def test_a_table_moves_its_columns_together_before_it_is_cut(monkeypatch, capsys, width, gap):
    monkeypatch.setenv("COLUMNS", str(width))
    table = Table(box=None, pad_edge=False)
    names = [f"column_{number}" for number in range(8)]
    for name in names:
        table.add_column(name)
    table.add_row(*("x" for _ in names))
    print_table(table)
    assert capsys.readouterr().out.splitlines()[0].rstrip() == (" " * gap).join(names)


def test_a_class_that_does_not_exist_is_one_line(rerank, tmp_path):
    (tmp_path / "x.yaml").write_text("components:\n  x:\n    type: rerank_plugin.components.NoSuch\n")
    done = rerank("search", "fox", "--pipeline", tmp_path / "x.yaml")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "rerank_plugin.components.NoSuch" in done.stderr


def fail_quietly():
    with quiet_libraries():
        raise InvalidValueError("stop")


def test_quiet_libraries_leaves_everything_as_it_was(monkeypatch):
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging as transformers

    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")

    def state():
        return (
            dict(os.environ),
            transformers.get_verbosity(),
            transformers.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
            list(logging.getLogger().handlers),
        )

    transformers.enable_progress_bar()
    before = state()
    with quiet_libraries():
        assert os.environ["TRANSFORMERS_VERBOSITY"] == "error"
        assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
        assert not transformers.is_progress_bar_enabled()
        assert are_progress_bars_disabled()
    assert state() == before
    with pytest.raises(InvalidValueError, match="stop"):
        fail_quietly()
    assert state() == before


def test_the_word_debug_among_the_arguments_is_not_the_option(rerank):
    done = rerank("search", "fox", "--pipeline", "nope", "--", "--debug")
    assert done.stderr.startswith("error: ")
    with pytest.raises(InvalidValueError):
        run_debug("--debug", "search", "fox", "--filters", "[]")


def run_debug(*arguments):
    before, sys.argv = sys.argv, ["rerank", *arguments]
    try:
        main()
    finally:
        sys.argv = before


def test_no_arguments_show_the_help(rerank):
    done = rerank()
    assert done.returncode == 0
    assert "Usage: " in done.stdout


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (OSError(errno.EMFILE, "Too many open files", "x"), "error: too many open files: raise the limit with `ulimit", 1),
        (PermissionError(errno.EACCES, "Permission denied", "x\n"), "error: permission denied: 'x\\n'\n", 1),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000),
            f"error: file name too long: '{'x' * 79}... (str)\n",
            1,
        ),
        (KeyboardInterrupt(), "error: interrupted; completed work is kept", 130),
        (ValueError("two\nlines\x1b[2J"), "error: ValueError: two lines[2J  (run `rerank --debug", 1),
    ],
)
def test_any_other_error_is_one_line_too(rerank, monkeypatch, error, message, status):
    def fail(folder):
        raise error

    monkeypatch.setattr("rerank_plugin.cli.doctor.examine_index", fail)
    done = rerank("doctor", "--index", "x")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert done.returncode == status


WORDS = ["search", "doctor", "fox", "", " ", "--index", "{index}", "--pipeline", "bm25", "--top-k", "3", "0", "-1", "x", "1e3", "9" * 30,
         "--candidates", "--filters", "{}", "[]", "null", "[" * 2000, '{{"field": "meta.n", "operator": "==", "value": 1}}', '{{"field": 5}}',
         '{{"operator": "AND", "conditions": []}}', "--json", "--", "-h", "--version", "--debug=1", "--no-such", "\x1b[2J", "\ud800", "фокс", "=",
         "--top-k=", "--index=", "/dev/null", "x" * 5000, "--embedding-model", "-", "'", "%s", "$HOME"]  # fmt: skip


def fuzz_command_lines(count, index, *, seed=1):
    """Run random command lines in this process; each must end with a result, or with an error on one line."""
    rng, statuses = random.Random(seed), []
    for _ in range(count):
        command = rng.choice(["search", "search", "search", "doctor", rng.choice(WORDS)])
        tail = [rng.choice(WORDS) for _ in range(rng.randrange(6))]
        usual = ["fox", "--index", "{index}", "--pipeline", "bm25"] if command == "search" and rng.random() < 0.6 else []
        arguments = [
            word.replace("{{", "{").replace("}}", "}").replace("{index}", str(index)) for word in [command, *usual, *tail]
        ]
        before = sys.argv, sys.stderr
        sys.argv, sys.stderr = ["rerank", *arguments], io.StringIO()
        try:
            with redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
                main()
            error = sys.stderr.getvalue()
        finally:
            sys.argv, sys.stderr = before
        statuses.append(end.value.code)
        if end.value.code:
            *warnings, line = error.splitlines()
            assert line.startswith("error: "), arguments
            assert "Error:" not in line, (arguments, line)  # an exception name: an unexpected error
            assert all(warning.startswith("warning: ") for warning in warnings), arguments
            assert not (CONTROLS - {"\n"}) & set(error), arguments
    return statuses


@pytest.mark.slow
def test_random_command_lines_end_with_a_result_or_one_line(hostile_index):
    statuses = fuzz_command_lines(40, hostile_index)
    assert {0, 1, 2} == set(statuses)
