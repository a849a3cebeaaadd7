"""Finding files: links, pipes, unreadable folders. Skipped paths are reported."""

import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from rerank_plugin.errors import InputFileError
from rerank_plugin.indexing.sources import find_sources


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "b.md").write_text("b")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.txt").write_text("secret")
    return folder


def names(listing) -> list[str]:
    return [file.path.name for file in listing.files]


def test_l11_a_link_out_of_the_folder_is_named_and_not_followed(folder, tmp_path):
    (folder / "link.txt").symlink_to(tmp_path / "elsewhere" / "secret.txt")
    (folder / "away").symlink_to(tmp_path / "elsewhere")
    listing = find_sources([folder])
    assert names(listing) == ["a.txt", "b.md"]
    assert [str(folder / "away") in listing.skipped[0], str(folder / "link.txt") in listing.skipped[1]] == [True, True]
    assert "a link to a file outside the folder; name it on the command line to index it" in listing.skipped[1]


def test_l11_a_link_inside_the_folder_is_the_file_itself_once(folder):
    (folder / "0link.txt").symlink_to(folder / "a.txt")
    (folder / "up").symlink_to(folder)
    listing = find_sources([folder])
    assert names(listing) == ["a.txt", "b.md"]
    assert listing.skipped == []


def test_l11_a_link_inside_the_folder_to_a_file_of_another_type_counts_by_its_own_name(folder):
    (folder / "data").write_text("text without an ending")
    (folder / "data.txt").symlink_to(folder / "data")
    assert names(find_sources([folder])) == ["a.txt", "data.txt", "b.md"]


def test_l11_a_link_between_two_named_folders_is_inside(folder, tmp_path):
    (folder / "link.txt").symlink_to(tmp_path / "elsewhere" / "secret.txt")
    listing = find_sources([folder, tmp_path / "elsewhere"])
    assert sorted(names(listing)) == ["a.txt", "b.md", "secret.txt"]
    assert listing.skipped == []


def test_l11_a_link_that_is_named_is_followed_under_its_own_name(folder, tmp_path):
    link = folder / "link.txt"
    link.symlink_to(tmp_path / "elsewhere" / "secret.txt")
    assert [file.path for file in find_sources([link]).files] == [link]
    assert names(find_sources([folder, link])) == ["a.txt", "b.md", "link.txt"]


def test_l11_a_corpus_outside_of_its_beir_folder_is_not_followed(folder, tmp_path):
    (tmp_path / "beir" / "qrels").mkdir(parents=True)
    (tmp_path / "elsewhere" / "corpus.jsonl").write_text('{"_id": "1", "text": "x"}')
    (tmp_path / "beir" / "corpus.jsonl").symlink_to(tmp_path / "elsewhere" / "corpus.jsonl")
    listing = find_sources([tmp_path / "beir"])
    assert (listing.files, len(listing.skipped)) == ([], 1)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_t4_what_is_no_regular_file_is_named_and_never_opened(folder, kind):
    path = folder / "odd.txt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    listing = find_sources([folder])
    assert names(listing) == ["a.txt", "b.md"]
    assert len(listing.skipped) == 1
    assert str(path) in listing.skipped[0]
    with pytest.raises(InputFileError, match="only regular files can be indexed"):
        find_sources([path])


def test_t4_a_pipe_that_takes_the_place_of_a_listed_file_is_not_waited_for(folder):
    (file,) = find_sources([folder / "a.txt"]).files
    file.path.unlink()
    os.mkfifo(file.path)
    with pytest.raises(InputFileError, match=r"a\.txt is a named pipe"):
        file.read("")
    with pytest.raises(InputFileError, match=r"a\.txt is a named pipe"):
        file.fingerprint("")


def test_a_folder_that_cannot_be_listed_is_reported_and_the_others_are_indexed():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        locked = folder / "locked"
        locked.mkdir()
        (locked / "c.txt").write_text("c")
        (folder / "a.txt").write_text("a")
        locked.chmod(0)
        try:
            shown = without_privileges(lambda: describe(find_sources([folder]), lost=locked / "c.txt"))
        finally:
            locked.chmod(0o755)
        failure = f"{locked} cannot be listed: Permission denied; check its permissions"
        assert shown == repr((["a.txt"], [failure], [locked], [])), "what is in a folder that cannot be read is not gone"


def describe(listing, *, lost: Path) -> tuple:
    return names(listing), listing.failed, listing.unlisted, listing.lost([str(lost)])


def without_privileges(ask) -> str:
    """Return the repr of a function's result when it is not run as root."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            os.write(write, repr(ask()).encode())
        except Exception as error:  # noqa: BLE001 - shown by the test
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        shown = pipe.read()
    os.waitpid(child, 0)
    return shown


def test_hidden_files_and_folders_are_passed_over_and_a_named_one_is_taken(folder):
    (folder / ".hidden.txt").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "c.txt").write_text("x")
    assert names(find_sources([folder])) == ["a.txt", "b.md"]
    assert names(find_sources([folder / ".hidden.txt"])) == [".hidden.txt"]


@pytest.mark.slow
def test_a_tree_deeper_than_calls_may_be_nested_is_walked(tmp_path):
    folders = [tmp_path]
    for _ in range(sys.getrecursionlimit() + 50):
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    file = folders[-1] / "deep.txt"
    file.write_text("x")
    assert names(find_sources([tmp_path])) == ["deep.txt"]
    file.unlink()  # too deep for pytest's own clean-up
    for folder in reversed(folders[1:]):
        folder.rmdir()


def test_a_file_name_that_is_not_utf8_is_reported(folder):
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("x")
    except OSError:
        pytest.skip("the file system knows no such names")
    listing = find_sources([folder])
    assert names(listing) == ["a.txt", "b.md"]
    assert listing.failed == [f"{folder}/caf\\xe9.txt has a name that is not UTF-8: rename the file"]
