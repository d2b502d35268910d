"""Why something failed, in words for a message of one line."""


def in_one_line(error: BaseException, most: int = 200) -> str:
    """An error's message without its line breaks, cut to `most` characters; its class's name where it has none."""
    return " ".join(str(error).split())[:most] or type(error).__name__
