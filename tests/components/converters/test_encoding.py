"""Text in any encoding; what is guessed is said (U5)."""

import random

import pytest

from rerank_plugin.components.converters.encoding import decode
from rerank_plugin.errors import InputFileError

TEXTS = {
    "fr": "Le café est fermé à l'été. Où êtes-vous? Ça va très bien, mon élève a déjà mangé.",
    "de": "Die Größe der Tür ist für Gäste übermäßig schön. Straße, Öl, Äpfel.",
    "ru": "Съешь ещё этих мягких французских булок, да выпей чаю. Установка программы из исходных текстов.",
    "ja": "これは日本語のテキストです。インストールの手順を説明します。東京は日本の首都である。",
    "pl": "Zażółć gęślą jaźń. Proszę o więcej informacji na temat usługi.",
    "short": "café",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("language", TEXTS)
def test_u5_marks_and_utf8_are_certain(language, encoding):
    decoded = decode(TEXTS[language].encode(encoding))
    assert (decoded.text, decoded.is_assumed) == (TEXTS[language], False)


@pytest.mark.parametrize(("mark", "encoding"), [(b"\xfe\xff", "utf-16-be"), (b"\x00\x00\xfe\xff", "utf-32-be")])
def test_u5_big_endian_too(mark, encoding):
    decoded = decode(mark + "text".encode(encoding))
    assert (decoded.text, decoded.encoding) == ("text", encoding)


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("fr", "latin-1"), ("fr", "cp1252"), ("de", "cp1252"), ("de", "cp850"), ("ru", "cp1251"), ("ru", "koi8-r"), ("ru", "cp866"),
        ("ja", "shift_jis"), ("ja", "euc-jp"), ("pl", "iso8859-2"), ("pl", "cp1250"), ("short", "latin-1"),
    ],
)  # fmt: skip
def test_u5_legacy_encodings_are_guessed_and_named(language, encoding):
    decoded = decode(TEXTS[language].encode(encoding))
    assert (decoded.text, decoded.is_assumed) == (TEXTS[language], True)


def test_u5_what_tells_the_encoding_may_stand_far_from_the_beginning():
    text = "plain words\n" * 50_000 + TEXTS["ru"]
    assert decode(text.encode("koi8-r")).text == text


@pytest.mark.parametrize("declared", ['<meta charset="koi8-r">', "<?xml version='1.0' encoding='KOI8-R'?>"])
def test_html_says_its_encoding_itself(declared):
    decoded = decode((declared + "<p>Чай").encode("koi8-r"), is_markup=True)
    assert (decoded.text, decoded.is_assumed) == (declared + "<p>Чай", False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"abc\0def", "is a binary file"),
        (b"\x89PNG\r\n\x1a\n\0", "is a binary file"),
        (random.Random(1).randbytes(5000).replace(b"\0", b""), "no encoding that can be determined|binary file"),
        (b"\xff\xfea", "begins as UTF-16-LE text, but byte 2 is not"),
    ],
)
def test_u5_binary_files_are_refused(data, reason):
    with pytest.raises(InputFileError, match=reason):
        decode(data)
