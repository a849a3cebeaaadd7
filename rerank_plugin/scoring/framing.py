"""What stands around the two texts of an input: special tokens, or the words of a chat template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from tokenizers import Tokenizer

from rerank_plugin.errors import ModelError

# Texts that a tokenizer may join with what stands before and after them, in as many ways as there are.
PROBES = (
    "",
    "a",
    "Z9",
    "what is it?",
    " leading space",
    "trailing space ",
    "\nnew line",
    "new line\n",
    "two\n\n",
    "\ttab\t",
    "(brackets)",
    "...",
    "été",
    "日本語",
    "🙂",
    "</b>",
    "12",
    "'s",
    "_",
)
# Texts of which sentence-transformers finds out what it restores at the end of an input that was cut.
SHORT_TEXT, LONG_TEXT = "0", "1 2 3 4"
QUERY_MARK, PASSAGE_MARK = "Qm7XqueryQ3z", "Pk4WpassageP8v"


@dataclass(frozen=True)
class Side:
    """
    How one of the two texts is tokenised: in its surroundings, as its first and last tokens depend on them.

    :param left: Text put before it.
    :param right: Text put after it.
    :param skipped: Tokens at the beginning that are not part of the result.
    :param dropped: Tokens at the end that are not.
    :param tail: Ids put after a text of which the end was cut off.
    :param type_id: Its token type.
    """

    left: str = ""
    right: str = ""
    skipped: int = 0
    dropped: int = 0
    tail: tuple[int, ...] = ()
    type_id: int = 0


@dataclass(frozen=True)
class Framing:
    """
    The constant tokens of an input, and how the texts between them are tokenised.

    :param before: Ids before the query.
    :param between: Ids between query and passage.
    :param after: Ids after the passage.
    :param types: Token types of the same three.
    :param query: How queries are tokenised.
    :param passage: How passages are.
    :param trims: Whether white space around the texts is removed.
    :param cuts_end: Whether an input that is too long loses the end of its passage, as in a chat template; if not, the
        longer text is cut.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    query: Side = field(default_factory=Side)
    passage: Side = field(default_factory=Side)
    trims: bool = False
    cuts_end: bool = False

    @classmethod
    def of_json(cls, fields: dict[str, Any]) -> "Framing":
        """Build it from the dictionary that `dataclasses.asdict` made of it and JSON has kept."""
        before, between, after = (tuple(fields[name]) for name in ("before", "between", "after"))
        query, passage = (Side(**{**fields[name], "tail": tuple(fields[name]["tail"])}) for name in ("query", "passage"))
        types = (tuple(fields["types"][0]), tuple(fields["types"][1]), tuple(fields["types"][2]))
        return cls(before, between, after, types, query, passage, fields["trims"], fields["cuts_end"])


def frame_pair(tokenizer: Tokenizer, *, prompt: str = "") -> Framing:
    """
    Find the special tokens that a tokenizer puts around the two texts of a pair.

    :param tokenizer: The tokenizer.
    :param prompt: Text before every query.
    :raises ModelError: If it does not join pairs.
    """
    example = tokenizer.encode("a", "a")
    sides = example.sequence_ids
    if 0 not in sides or 1 not in sides:
        raise ModelError(
            "the tokenizer does not join a query and a passage into one input: it does not belong to a cross-encoder"
        )
    first, second = sides.index(0), sides.index(1)
    last_of_first = second - 1 - sides[second - 1 :: -1].index(0)
    last_of_second = len(sides) - 1 - sides[::-1].index(1)
    parts = [slice(0, first), slice(last_of_first + 1, second), slice(last_of_second + 1, len(sides))]
    before, between, after = (tuple(example.ids[part]) for part in parts)
    types = (tuple(example.type_ids[parts[0]]), tuple(example.type_ids[parts[1]]), tuple(example.type_ids[parts[2]]))
    query = Side(left=prompt, type_id=example.type_ids[first])
    return Framing(before, between, after, types, query, Side(type_id=example.type_ids[second]))


def frame_chat(tokenizer: Tokenizer, render: Callable[[str, str], str]) -> Framing:
    """
    Find what a chat template puts around the two texts.

    A tokenizer may join the end of a text with the words after it ("?" and a line break are one token of Qwen), so texts are
    tokenised within the template, and only the tokens that no text changes are constant. All pairs of `PROBES` have exactly
    the ids of the rendered template.

    :param tokenizer: The tokenizer; the template names the special tokens, so it adds none.
    :param render: Returns the template with a query and a passage.
    :raises ModelError: If the template changes the texts, repeats them, or puts the passage first, or if the tokenizer joins
        the two texts.
    """
    texts, trims = _split_template(render)
    head, middle, foot = texts

    def ids(text: str) -> list[int]:
        encoded: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return encoded

    probes = sorted({probe.strip() for probe in PROBES}) if trims else PROBES
    queries = {probe: ids(head + probe + middle) for probe in probes}
    passages = {probe: ids(middle + probe + foot) for probe in probes}
    whole = {pair: ids(head + pair[0] + middle + pair[1] + foot) for pair in product(probes, repeat=2)}
    cut = next(
        (
            (dropped, skipped)
            for skipped, dropped in product(range(len(ids(middle)) + 2), repeat=2)
            if all(queries[q][: len(queries[q]) - dropped] + passages[p][skipped:] == each for (q, p), each in whole.items())
        ),
        None,
    )
    if cut is None:
        raise ModelError("its tokenizer joins the tokens of query and passage across the words of its chat template")
    dropped, skipped = cut
    before = _common_prefix(list(queries.values()))
    between = _common_prefix([tokens[skipped:] for tokens in passages.values()])
    after = _common_suffix([tokens[skipped + len(between) :] for tokens in passages.values()])
    skipped += len(between)
    right, extra = _shortest_right(middle, foot, ids, probes, skipped, len(after))
    samples = [ids(head + text + middle + text + foot) for text in (SHORT_TEXT, LONG_TEXT)]
    restored = _common_suffix(samples)
    query_samples = [ids(head + text + middle)[len(before) :] for text in (SHORT_TEXT, LONG_TEXT)]
    query_tail = _common_suffix([tokens[: len(tokens) - dropped] for tokens in query_samples])
    return Framing(
        tuple(before),
        tuple(between),
        tuple(after),
        ((0,) * len(before), (0,) * len(between), (0,) * len(after)),
        Side(head, middle, len(before), dropped, tuple(query_tail)),
        Side(middle, right, skipped, extra, tuple(restored[: max(0, len(restored) - len(after))])),
        trims=trims,
        cuts_end=True,
    )


def _split_template(render: Callable[[str, str], str]) -> tuple[tuple[str, str, str], bool]:
    """Return what a template writes before, between and after the two texts, and whether it trims them."""
    text = render(QUERY_MARK, PASSAGE_MARK)
    for name, mark in (("query", QUERY_MARK), ("passage", PASSAGE_MARK)):
        if text.count(mark) != 1:
            raise ModelError(f"its chat template writes the {name} {text.count(mark)} times, not once as it is")
    head, _, rest = text.partition(QUERY_MARK)
    middle, _, foot = rest.partition(PASSAGE_MARK)
    if PASSAGE_MARK in head:
        raise ModelError("its chat template puts the passage before the query")
    for trims in (False, True):
        shown = [probe.strip() if trims else probe for probe in PROBES]
        pairs = zip(PROBES, PROBES[::-1], shown, shown[::-1], strict=True)
        if all(render(query, passage) == head + q + middle + p + foot for query, passage, q, p in pairs):
            return (head, middle, foot), trims
    raise ModelError("its chat template changes the texts that it is given")


def _shortest_right(
    middle: str, foot: str, ids: Callable[[str], list[int]], probes: Sequence[str], skipped: int, after: int
) -> tuple[str, int]:
    """
    Find how little of the words after a passage is needed to tokenise it, as it is needed for every passage.

    :returns: The text after the passage, and the number of its tokens that are constant.
    """
    wanted = [(tokens := ids(middle + probe + foot))[skipped : len(tokens) - after] for probe in probes]
    for length in range(len(foot)):
        right = foot[:length]
        found = [ids(middle + probe + right)[skipped:] for probe in probes]
        extra = len(found[0]) - len(wanted[0])
        if extra >= 0 and all(tokens[: len(tokens) - extra] == each for tokens, each in zip(found, wanted, strict=True)):
            return right, extra
    return foot, after


def _common_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    shortest = min(sequences, key=len)
    for position, token in enumerate(shortest):
        if any(tokens[position] != token for tokens in sequences):
            return list(shortest[:position])
    return list(shortest)


def _common_suffix(sequences: Sequence[Sequence[int]]) -> list[int]:
    return _common_prefix([tokens[::-1] for tokens in sequences])[::-1]
