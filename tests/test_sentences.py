"""Splitting passages into sentences: English, Russian, Markdown, code."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.sentences import split_sentences

WRAPPED = """A kettle is descaled with citric acid, which dissolves the limestone that hard
water leaves behind. Rinse it twice, e.g. with cold water. Dr. Smith uses vin-
egar, approx. 3.5 spoons of it."""

MARKDOWN = """# Descaling

Work in this order:

- Use two spoons of acid
  per litre of water.
- Never use bleach. It is not
  for food.

1. Fill the kettle.

```c
int main() {
}
```

| what | how much |
| --- | --- |
| citric acid for a litre | 20 g |

Done in time
"""


def test_u7_lines_of_a_wrapped_paragraph_are_joined():
    assert split_sentences(WRAPPED) == [
        "A kettle is descaled with citric acid, which dissolves the limestone that hard water leaves behind.",
        "Rinse it twice, e.g. with cold water.",
        "Dr. Smith uses vin-egar, approx. 3.5 spoons of it.",
    ]


def test_u7_items_are_sentences_and_headings_code_and_tables_are_not():
    assert split_sentences(MARKDOWN) == [
        "Work in this order:",
        "Use two spoons of acid per litre of water.",
        "Never use bleach.",
        "It is not for food.",
        "Fill the kettle.",
        "Done in time",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "It costs 3.50 euros (approx. 4 dollars).",
        "See Fig. 3 and pp. 4-5 of README.md.",
        "J. R. R. Tolkien wrote it in the U.S. and elsewhere.",
        "Call os.path.join(a, b) with two names, i.e. strings.",
        "Чай, кофе и т. д. полезны, т. е. бодрят.",
        "Пушкин А. С. родился в 1799 г. в Москве.",
        "Он жил на ул. Ленина, д. 5, и платил 5 тыс. руб. в месяц.",
        "См. рис. 3 на стр. 5 этой книги.",
        "«Это правда?» — спросил он тихо.",
    ],
)
def test_abbreviations_do_not_end_a_sentence(text):
    other = "This is another sentence." if text.isascii() else "Это ещё одно предложение."
    assert split_sentences(f"{other} {text} {other}") == [other, text, other]


def test_russian_paragraphs_and_items():
    text = """Чайник чистят лимонной кислотой, которая растворяет известь, то есть тот
осадок, который оставляет жёсткая вода. После этого его ополаскивают!

1. Насыпьте 20 г кислоты на 1 л воды.
2. Вскипятите и подождите полчаса."""
    assert split_sentences(text) == [
        "Чайник чистят лимонной кислотой, которая растворяет известь, то есть тот осадок, который оставляет жёсткая вода.",
        "После этого его ополаскивают!",
        "Насыпьте 20 г кислоты на 1 л воды.",
        "Вскипятите и подождите полчаса.",
    ]


def test_u7_code_between_sentences_is_left_out():
    text = """Compile the file before you run it for the first time.
int main() {
  return compute(argc, argv);
}
The program then prints the sum of its arguments."""
    assert split_sentences(text) == [
        "Compile the file before you run it for the first time.",
        "The program then prints the sum of its arguments.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int main() {\n  return 0;\n}\n", ["int main() {", "return 0;"]),
        ("# Alone", ["Alone"]),
        ("red fox sleeps", ["red fox sleeps"]),
        ("Yes. No!", ["Yes.", "No!"]),
        ("| a | b |\n| --- | --- |\n| 1 | 2 |", ["a | b", "1 | 2"]),
        ("}", []),
        (" \n ", []),
        ("", []),
    ],
)
def test_a_text_without_sentences_gives_what_it_has(text, expected):
    assert split_sentences(text) == expected


def test_a_heading_in_plain_text_is_a_lone_line_with_something_below():
    assert split_sentences("Cleaning the kettle well\n\nUse an acid for it.") == ["Use an acid for it."]
    assert split_sentences("Use an acid for it.\n\nCleaning the kettle well") == [
        "Use an acid for it.",
        "Cleaning the kettle well",
    ]


def test_short_lines_are_not_a_wrapped_paragraph():
    assert split_sentences("Paris is in France\nBerlin is in Germany") == ["Paris is in France", "Berlin is in Germany"]


@settings(max_examples=40)
@given(st.text() | st.text("abc .!?\n-#|`>{}()1Яя", max_size=200))
def test_any_text_splits_into_single_lines_of_its_own_letters(text):
    for sentence in split_sentences(text):
        assert "\n" not in sentence
        assert any(character.isalnum() for character in sentence)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["> " * 3000 + "a", "- " * 3000 + "a", "a " * 50_000, "a. " * 20_000, "|a" * 5000 + "|\n" + "|-" * 5000, "`" * 20_000],
)
def test_hostile_texts_take_no_longer_than_others(text):
    split_sentences(text)
