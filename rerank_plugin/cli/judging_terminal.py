"""`rerank judge` in a terminal: one hit at a time, one key for a grade."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from rerank_plugin.cli.hits import place_text
from rerank_plugin.cli.keyboard import END
from rerank_plugin.cli.printing import cell, printable

if TYPE_CHECKING:
    from rerank_plugin.judgements.judgements import Judgements, QueryToJudge, Recorded
    from rerank_plugin.judgements.pooling import PooledHit

# The same keys on a Russian keyboard.
_RUSSIAN = dict(zip("гытйм", "usnqv", strict=True))
# Of a longer passage the beginning is shown; a key shows all of it.
_LINES = 14
_HELP = "0 not relevant   1 related   2 relevant   3 answers it      u undo   s skip   n next query   v whole text   q quit"


@dataclass
class TerminalJudge:
    """
    Asks for grades.

    :param judgements: The judgements of the index.
    :param judge: Whose judgements they are.
    :param pool: Returns the hits of a query.
    :param blind: Whether it is hidden what ranked a hit where.
    :param read_key: Waits for a key; see `keyboard`.
    :param console: Where to print.
    """

    judgements: "Judgements"
    judge: str
    pool: "Callable[[str], Sequence[PooledHit]]"
    blind: bool
    read_key: Callable[[], str]
    console: Console = field(default_factory=Console)
    _typed: list[str] = field(default_factory=list)

    def run(self, queries: "Sequence[QueryToJudge]") -> int:
        """
        Ask for the grades of the hits of queries.

        :param queries: The queries. Those that have a judgement are passed over, except the last of them: judging may have
            been left in the middle of it. Hits that have a judgement are passed over.
        :returns: How many grades were given; those that were taken back do not count.
        """
        total, given = len(queries), 0
        last_judged = max((number for number, query in enumerate(queries, start=1) if query.judged), default=0)
        self.console.print(Text(_HELP, style="dim"))
        for number, query in enumerate(queries, start=1):
            if query.judged and number != last_judged:
                continue
            hits = self._ungraded(query.text)
            if query.judged and not hits:
                continue
            session = _QuerySession(self, query.text, f"query {number} of {total}", hits)
            goes_on = session.run()
            given += session.given
            if not goes_on:
                break
        return given

    def _ungraded(self, query: str) -> "list[PooledHit]":
        graded = {grade.document_id for grade in self.judgements.grades(query) if not grade.weak and not grade.stale}
        return [hit for hit in self.pool(query) if hit.document.id not in graded]

    def key(self) -> str:
        """Return the next key, as on an English keyboard."""
        if not self._typed:
            typed = self.read_key().lower()
            # Keys that were typed ahead come together; an arrow or function key is one key of several characters.
            self._typed = [typed] if typed.startswith("\x1b") else list(typed)
        key = self._typed.pop(0)
        if key == "\x03":  # where Ctrl-C is a key as any other
            raise KeyboardInterrupt
        return _RUSSIAN.get(key, key)


@dataclass
class _QuerySession:
    """The hits of one query."""

    owner: TerminalJudge
    query: str
    title: str
    hits: "list[PooledHit]"
    given: int = 0

    def run(self) -> bool:
        """Ask for grades; return whether to go on with the next query."""
        console = self.owner.console
        console.print(Rule(cell(self.title), style="dim"))
        console.print(cell(self.query, "bold"))
        if not self.hits:
            console.print("no pipeline finds anything for it")
        position = 0
        while position < len(self.hits):
            self._show(position)
            step = self._ask(position)
            if step is None:
                return False
            position = step
        return True

    def _ask(self, position: int) -> int | None:
        """Return the position of the hit to show next; `None` to quit."""
        hit = self.hits[position]
        while True:
            key = self.owner.key()
            if key in tuple("0123"):
                self._grade(hit, int(key), position)
                return position + 1
            if key == "s":
                self._say("skipped")
                return position + 1
            if key == "n":
                return len(self.hits)
            if key in ("q", END):
                return None
            if key == "v":
                self.owner.console.print(Text(printable(hit.document.content or "", lines=True)))
            elif key == "u":
                return self._undo(position)
            else:
                self._say(_HELP)

    def _grade(self, hit: "PooledHit", grade: int, position: int) -> None:
        from rerank_plugin.judgements.grades import MEANINGS
        from rerank_plugin.judgements.judgements import Judgement

        shown: dict[str, Any] = {"place": position + 1, "blind": self.owner.blind, "stages": hit.stages}
        self.owner.judgements.judge(self.query, Judgement(hit.document.id, grade, self.owner.judge, shown=shown))
        self.given += 1
        self._say(f"{grade}, {MEANINGS[grade]}")

    def _undo(self, position: int) -> int:
        undone: Recorded | None = self.owner.judgements.undo(self.owner.judge)
        if undone is None:
            self._say("nothing to undo")
            return position
        self.given -= 1
        ids = [hit.document.id for hit in self.hits]
        if undone.query == self.query and undone.document_id in ids:
            self._say("undone: judge it again")
            return ids.index(undone.document_id)
        self._say(f"undone: grade {undone.grade} of a passage for {undone.query!r}")
        return position

    def _say(self, text: str) -> None:
        self.owner.console.print(cell(f"  {text}", "green"))

    def _show(self, position: int) -> None:
        console, hit = self.owner.console, self.hits[position]
        meta = hit.document.meta
        place = place_text(meta)
        console.print()
        title = cell(f"{position + 1} of {len(self.hits)}  ", "dim")
        console.print(title + cell(meta.get("title") or place or hit.document.id, "bold"))
        if place:
            console.print(cell(place, "cyan"))
        if not self.owner.blind:
            console.print(cell("; ".join(_stage(name, stage) for name, stage in hit.stages.items()), "dim"))
        lines = Text(printable(hit.document.content or "", lines=True)).wrap(console, console.width)
        for line in lines[:_LINES]:
            console.print(line)
        if len(lines) > _LINES:
            console.print(cell(f"… {len(lines) - _LINES:,} more lines: v shows the whole text", "dim"))


def _stage(name: str, stage: dict[str, Any]) -> str:
    first = stage.get("first_stage_rank")
    return f"{name}: rank {stage['rank']}" + (f", first stage {first}" if first is not None else "")
