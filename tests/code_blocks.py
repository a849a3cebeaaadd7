"""
The code blocks of README and docs: finding them, running them, comparing their output with what the page shows.

A page shows output in a `text` block straight after a `python` block, or after the `$ command` of a `console` block. A line
of it that is `...` stands for any lines. Numbers may differ a little from machine to machine (bf16 or fp32).

`make refresh-docs` runs this file, which writes the output of today into the pages, and draws the picture of the README anew.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PICTURE = ROOT / "docs" / "pictures" / "search.svg"
PICTURE_COMMAND = ["search", "coffee maker slow and loud from chalk", "--top-k", "3"]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", flags=re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
TOLERANCE = 0.05
# Times of one moment on one machine are not worth showing.
TIMES = re.compile(r"^milliseconds:.*\n?", flags=re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block, and the output that the page shows for it (`None`: none)."""

    page: Path
    number: int
    language: str
    code: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.number}"


def blocks(*languages: str, pages: list[Path] | None = None) -> list[Block]:
    """Return the code blocks in these languages, in order."""
    found = []
    for page in PAGES if pages is None else pages:
        text = page.read_text(encoding="utf-8")
        for number, match in enumerate(BLOCK.finditer(text), start=1):
            language, code, output = match.groups()
            if language in languages:
                if language == "console":
                    code, _, output = (part.rstrip("\n") for part in code.partition("\n"))
                found.append(Block(page, number, language, code, output))
    return found


def run_python(code: str, place: str) -> str:
    """Run a block by itself, and return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, place, "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def run_command(line: str) -> str:
    """Run a line such as `$ rerank search ...` in this process, and return what it printed."""
    from rerank_plugin.cli import main

    arguments, printed = shlex.split(line.removeprefix("$ ")), io.StringIO()
    before = sys.argv
    sys.argv = arguments
    try:
        with contextlib.redirect_stdout(printed):
            main()
    except SystemExit as end:
        if end.code:
            raise AssertionError(f"{line} ended with status {end.code}") from end
    finally:
        sys.argv = before
    return "\n".join(text.rstrip() for text in printed.getvalue().splitlines()) + "\n"


def differences(shown: str, printed: str) -> list[str]:
    """Return the lines that the page shows and the program did not print in this order."""
    rest, wrong = printed.splitlines(), []
    for line in shown.splitlines():
        if line.strip() == "...":
            continue
        place = next((i for i, candidate in enumerate(rest) if _same(line, candidate)), None)
        if place is None:
            wrong.append(line)
        else:
            rest = rest[place + 1 :]
    return wrong


def _same(shown: str, printed: str) -> bool:
    if re.sub(r"\s+", " ", NUMBER.sub("0", shown)).strip() != re.sub(r"\s+", " ", NUMBER.sub("0", printed)).strip():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE for a, b in pairs)


def prepare(folder: Path) -> None:
    """Make what the pages take for granted: an index of the sample corpus in ./index, and the corpus in ./sample_corpus."""
    from rerank_plugin.indexing import index_paths

    shutil.copytree(ROOT / "sample_corpus", folder / "sample_corpus")  # a link would show where the checkout is
    index_paths([folder / "sample_corpus"], folder / "index", pipeline="indexing_keyword")


def refresh(page: Path) -> None:
    """Write the output of today into a page."""

    def renewed(match: re.Match[str]) -> str:
        language, code, output = match.groups()
        if language == "console":
            command, _, shown = code.partition("\n")
            return f"```console\n{command}\n{_merged(shown, run_command(command))}```\n"
        if language == "python" and output is not None:
            return f"```python\n{code}```\n\n```text\n{_merged(output, run_python(code, str(page)))}```\n"
        return match[0]

    text = page.read_text(encoding="utf-8")
    page.write_text(BLOCK.sub(renewed, text), encoding="utf-8")


def _merged(shown: str, printed: str) -> str:
    """Keep a page's output where it is still right, which keeps its `...` as well."""
    return shown if shown and not differences(shown, printed) else TIMES.sub("", printed).rstrip() + "\n"


def draw(arguments: list[str], *, width: int = 100) -> str:
    """Return what a command prints to a terminal, as an SVG without fonts or other things from elsewhere."""
    from rich.console import Console
    from rich.terminal_theme import DIMMED_MONOKAI
    from rich.text import Text

    terminal = os.environ | {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "COLUMNS": str(width)}
    command = [sys.executable, "-m", "rerank_plugin", *arguments]
    done = subprocess.run(command, env=terminal, stdout=subprocess.PIPE, text=True, check=True)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text("$ " + shlex.join(["rerank", *arguments]), style="bold"))
    shown = "\n".join(line for line in done.stdout.splitlines() if "milliseconds:" not in line)
    console.print(Text.from_ansi(shown.rstrip()))
    svg = console.export_svg(title="rerank search", theme=DIMMED_MONOKAI, unique_id="search")
    return re.sub(r"\s*@font-face \{.*?\}\n", "", svg, flags=re.DOTALL).replace("Fira Code", "ui-monospace")


def main() -> None:
    """Refresh all pages and the picture, in a temporary folder."""
    os.environ.update(HF_HUB_OFFLINE="1", HAYSTACK_TELEMETRY_ENABLED="False", COLUMNS="100")
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        prepare(Path(name))
        for page in PAGES:
            refresh(page)
        PICTURE.write_text(draw(PICTURE_COMMAND), encoding="utf-8")


if __name__ == "__main__":
    main()
