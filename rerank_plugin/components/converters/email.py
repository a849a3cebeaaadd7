"""E-mail messages (RFC 822): who wrote to whom, when, and the text."""

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage

from rerank_plugin.components.converters import html
from rerank_plugin.components.converters.blocks import Block, FileContent, one_line
from rerank_plugin.components.converters.encoding import decode
from rerank_plugin.components.converters.text import text_blocks
from rerank_plugin.errors import InputFileError

# Python's parser takes time by the square of the number of parts that are nested.
_MULTIPART = re.compile(rb"content-type:[ \t]*multipart/", re.IGNORECASE)
_MAX_MULTIPARTS = 500
_HEADERS = ("From", "To", "Cc", "Date")


def read(data: bytes) -> FileContent:
    """
    Read an e-mail message.

    :param data: The message.
    :returns: A block with sender, recipients and date, the text, and the names of the attachments, which are not read. The
        title is the subject.
    :raises InputFileError: If it has no header of a message.
    """
    if len(_MULTIPART.findall(data)) > _MAX_MULTIPARTS:
        raise InputFileError(f"has more than {_MAX_MULTIPARTS} parts that have parts: check the file")
    message = email.message_from_bytes(data, EmailMessage, policy=email.policy.default)
    if not any(name in message for name in ("From", "To", "Subject", "Date", "Received", "Message-ID")):
        raise InputFileError("is not an e-mail message (it has neither sender nor subject): check the file")
    headers = "\n".join(f"{name}: {value}" for name in _HEADERS if (value := _header(message, name)))
    blocks = [Block(headers), *_body(message)]
    names = [one_line(str(part.get_filename() or "")) for part in message.iter_attachments()]
    if any(names):
        blocks.append(Block(f"Attachments: {', '.join(filter(None, names))}"))
    return FileContent(blocks, _header(message, "Subject"))


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = str(message.get(name, ""))
    except (ValueError, IndexError, AttributeError, TypeError):  # parsing a malformed header can fail in many ways
        value = ""
    return one_line(value.encode(errors="replace").decode())


def _body(message: EmailMessage) -> Iterator[Block]:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes) or not content.strip():
        return
    charset = part.get_content_charset()
    try:
        text = content.decode(charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        text = decode(content).text
    text = text.replace("\0", "").replace("\r\n", "\n").replace("\f", "\n")
    if part.get_content_type() == "text/html":
        yield from html.read(text.encode(errors="replace")).blocks
    else:
        yield from text_blocks(text)
