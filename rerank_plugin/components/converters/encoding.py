"""Decoding text whose encoding is not known."""

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_plugin.errors import InputFileError

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatches

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# How HTML declares its encoding, near its beginning.
_DECLARED = re.compile(rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_DECLARED_WITHIN = 4096
# Guessing takes time, and a part is enough; the text is decoded as a whole.
_GUESS_BYTES = 1 << 16
# The encodings of texts from before UTF-8, the more common first.
_LIKELY = (
    *(
        "cp1252",
        "cp1251",
        "cp932",
        "gb18030",
        "iso8859_2",
        "cp1250",
        "koi8_r",
        "euc_jp",
        "big5",
        "euc_kr",
        "cp1253",
        "cp1254",
    ),
    *("cp1254", "cp1255", "cp1256", "cp1257", "iso8859_15", "cp866", "cp850"),
)
# Share of oddities up to which a text may well be right.
_MAX_ODDITY = 0.1
# Control characters that no text has; tabs, line ends, form feeds and escapes are left out.
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BINARY_SHARE = 0.02
_IS_BINARY = "is a binary file, not text: check the file, or leave it out"


@dataclass(frozen=True)
class DecodedText:
    """
    A text that was decoded.

    :param text: The text, without a byte order mark.
    :param encoding: Its encoding.
    :param is_assumed: Whether the encoding was guessed.
    """

    text: str
    encoding: str
    is_assumed: bool = False


def decode(data: bytes, *, is_markup: bool = False) -> DecodedText:
    """
    Decode text: by its byte order mark, as UTF-8, by what HTML declares, or else by the encoding that fits best.

    :param data: The bytes.
    :param is_markup: Whether it is HTML or XML, which may declare its encoding.
    :raises InputFileError: If it is not text, or its encoding cannot be determined. The message completes "FILE ...".
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return DecodedText(data[len(mark) :].decode(encoding), encoding)
            except UnicodeDecodeError as error:
                raise InputFileError(
                    f"begins as {encoding.upper()} text, but byte {error.start + len(mark)} is not: check the file"
                ) from None
    if b"\0" in data:
        raise InputFileError(_IS_BINARY)
    try:
        return DecodedText(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        pass
    declared = _declared(data) if is_markup else None
    return declared or _guessed(data)


def _declared(data: bytes) -> DecodedText | None:
    match = _DECLARED.search(data[:_DECLARED_WITHIN])
    if not match:
        return None
    try:
        encoding = codecs.lookup(match[1].decode("ascii")).name
        # What browsers do: pages that declare Latin-1 are in its superset.
        encoding = "cp1252" if encoding == "iso8859-1" else encoding
        return DecodedText(data.decode(encoding), encoding)
    except (LookupError, UnicodeError):
        return None


def _guessed(data: bytes) -> DecodedText:
    from charset_normalizer import from_bytes

    # The lines with other bytes than ASCII tell, wherever they stand.
    sample = b"\n".join(line for line in data.split(b"\n") if not line.isascii())[:_GUESS_BYTES]
    for encoding in _by_likelihood(from_bytes(sample, cp_isolation=list(_LIKELY))):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if len(_BINARY.findall(text)) > len(text) * _BINARY_SHARE:
            raise InputFileError(_IS_BINARY)
        return DecodedText(text, encoding, is_assumed=True)
    raise InputFileError("is in no encoding that can be determined: convert it to UTF-8, for example with iconv")


def _by_likelihood(matches: "CharsetMatches") -> list[str]:
    """
    Return the encodings that may be the right one, the most likely first.

    charset-normalizer orders by how odd the text looks, in which a few accents decide. Of encodings under which a text looks
    about equally well, the more common one is taken.
    """
    found = {
        encoding: (match.chaos > _MAX_ODDITY, -round(match.coherence, 1), _LIKELY.index(encoding))
        for match in reversed(list(matches))
        for encoding in match.could_be_from_charset
        if encoding in _LIKELY
    }
    return sorted(found, key=lambda encoding: found[encoding])
