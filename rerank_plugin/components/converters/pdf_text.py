"""The text of a PDF page: spaces where there are gaps, and words whole that were hyphenated at the end of a line."""

import re
import unicodedata
from ctypes import byref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

# Where PDFium joined a word that was divided at the end of a line. Between a small letter and a capital, or beside a digit,
# the hyphen is part of the word.
_JOINT = "\x02"
_JOINED = re.compile(r"(?<=[^\W\d_])\x02(?=[^\W\d_A-Z])|(?<=[A-Z])\x02(?=[A-Z])")
# A line end that PDFium did not recognise as hyphenation.
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[\u00ad\u2010]\n(?=[^\W\d_])")
_LIGATURES = re.compile("[\ufb00-\ufb06]")
# The dots between a heading and its page number in a table of contents.
_LEADERS = re.compile(r" *(?:\. ?){5,}|…{3,}")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
# A gap of this share of the height of a line is a space. Letters of a word are closer even in letter-spaced type.
_SPACE = 0.15
# Scripts without spaces between words begin here: Chinese, Japanese, Korean.
_FIRST_IDEOGRAPH = 0x2E80


def page_text(page: "PdfPage") -> str:
    """
    Return the text of a page in reading order, one line of the page a line.

    :param page: The page.
    :raises pypdfium2.PdfiumError: If it cannot be read.
    """
    textpage = page.get_textpage()
    try:
        text = _spaced(textpage.raw)
    finally:
        textpage.close()
    text = "\n".join(filter(None, (line.strip() for line in text.replace("\r", "\n").split("\n"))))
    text = _HYPHENATED.sub("", _JOINED.sub("", text)).replace(_JOINT, "-")
    text = _LIGATURES.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return _NO_TEXT.sub("", _LEADERS.sub(" ... ", text))


def _spaced(handle: Any) -> str:
    """Return the characters in PDFium's order, with a space in each gap that PDFium took for none, as in kerned type."""
    from pypdfium2 import raw

    unicode_of, box_of = raw.FPDFText_GetUnicode, raw.FPDFText_GetLooseCharBox  # looked up once: called for every letter
    box = raw.FS_RECTF()
    target = byref(box)
    parts: list[str] = []
    end = top = bottom = 0.0
    was_letter = False
    for index in range(raw.FPDFText_CountChars(handle)):
        code = unicode_of(handle, index)
        is_letter = 0x20 < code < _FIRST_IDEOGRAPH
        if is_letter and box_of(handle, index, target):
            height = box.top - box.bottom
            on_same_line = box.bottom < top and box.top > bottom
            if was_letter and on_same_line and box.left - end > _SPACE * height > 0:
                parts.append(" ")
            end, top, bottom = box.right, box.top, box.bottom
        was_letter = is_letter
        parts.append(chr(code) if code <= 0x10FFFF else "")
    return "".join(parts)
