import logging

import pytest
from haystack import Document

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.scoring.languages import LanguageCheck, declared_languages, main_script


def test_the_languages_of_a_model_are_those_of_its_card(cross_encoder, tmp_path):
    assert declared_languages("minilm-l6-en") == {"en"}
    assert declared_languages("me5-l12-enru") == {"en", "ru"}
    assert declared_languages(str(cross_encoder)) == set()
    for card in ("no header", "---\nlanguage: [1\n---\n", "---\n- a\n---\n", "---\nlanguage: 5\n---\n"):
        (tmp_path / "README.md").write_text(card)
        assert declared_languages(str(tmp_path)) == set()


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("чем чистить чайник", "CYRILLIC"),
        ("как настроить nginx", "CYRILLIC"),
        ("nginx reverse proxy для", None),
        ("Übergröße", None),
        ("咖啡机怎么清洗", "CJK"),
        ("커피 머신", "HANGUL"),
        ("قهوة", "ARABIC"),
        ("123 — ?", None),
        ("", None),
    ],
)
def test_the_script_is_that_of_most_letters(text, script):
    assert main_script(text) == script


def test_u3_a_query_that_the_model_cannot_read_is_one_warning(caplog):
    english, bilingual = LanguageCheck("minilm-l6-en"), LanguageCheck("me5-l12-enru")
    for _ in range(2):
        english.check("чем чистить чайник")
        bilingual.check("чем чистить чайник")
        english.check("how to clean a kettle")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Cyrillic" in record.getMessage()
    assert "use model me5-l12-enru" in record.getMessage()
    bilingual.check("咖啡机怎么清洗")
    assert "a multilingual model" in caplog.records[-1].getMessage()


@pytest.mark.slow
def test_u3_the_ranker_warns(caplog):
    CrossEncoderRanker(model="minilm-l6-en").run(query="чем чистить чайник", documents=[Document(content="a")])
    assert [record.name for record in caplog.records] == ["rerank_plugin.scoring.languages"]


def test_passages_that_the_model_cannot_read_are_one_warning(caplog):
    english, bilingual = LanguageCheck("minilm-l6-en"), LanguageCheck("me5-l12-enru")
    for _ in range(2):
        for check in (english, bilingual):
            check.check_passages(["Чайник чистят лимонной кислотой.", "descaling", "Воду кипятят и сливают."])
            check.check_passages(["how to clean a kettle"])
            check.check_passages([])
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "most passages are written in Cyrillic letters, but model minilm-l6-en reads en only"
    )
    assert "me5-l12-enru" in record.getMessage()
