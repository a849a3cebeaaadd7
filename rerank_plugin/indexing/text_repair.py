"""Repair of mojibake: text that was once decoded with the wrong encoding, such as `â€¦` for an ellipsis."""

from rerank_plugin.errors import MissingDependencyError


class TextRepair:
    """
    Repairs texts with ftfy, and counts how many it changed. Only the encoding is repaired: quotation marks, ligatures,
    widths and control characters are not changed.

    :raises MissingDependencyError: If ftfy is not installed.
    """

    def __init__(self) -> None:
        try:
            import ftfy
        except ImportError as error:
            raise MissingDependencyError("repairing text needs ftfy: pip install 'rerank-plugin[repair]'") from error
        self._fix = ftfy.fix_text
        self._config = ftfy.TextFixerConfig(
            unescape_html=False,
            remove_terminal_escapes=False,
            fix_latin_ligatures=False,
            fix_character_width=False,
            uncurl_quotes=False,
            fix_line_breaks=False,
            remove_control_chars=False,
            normalization=None,
        )
        self.changed = 0

    def __call__(self, text: str) -> str:
        """
        Repair a text.

        :param text: The text.
        :returns: The repaired text, or the text itself if it is correct.
        """
        fixed = self._fix(text, self._config)
        self.changed += fixed != text
        return fixed
