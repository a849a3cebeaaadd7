"""The texts in the source of the package, and the error messages that the troubleshooting page quotes."""

import ast
import re
from pathlib import Path


def texts_of(package: Path) -> list[str]:
    """Return all string literals, with each inserted value as a space."""
    found = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else " " for part in node.values]
                found.append("".join(map(str, parts)))
    return found


def quoted_messages(page: Path) -> list[re.Pattern[str]]:
    """Return the messages in the first column of its tables; `...` matches anything, and need not match."""
    rows = re.findall(r"^\| `([^`]+)` \|", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [re.compile(r".*".join(re.escape(part.strip()) for part in row.split("..."))) for row in rows]
