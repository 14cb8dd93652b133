"""Text for pages of Markdown."""


def cell(text: str) -> str:
    r"""Text of a party, which must not become markup.

    >>> cell("a | b")
    'a \\| b'
    """
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!" else sign for sign in " ".join(text.split()))
