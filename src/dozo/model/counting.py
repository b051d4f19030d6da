"""Numbers of things, in words."""


def counted(count: int, thing: str, things: str = "") -> str:
    """``1 server``, ``2 servers``; ``things`` where the plural is not made with an s."""
    return f"{count} {thing if count == 1 else things or thing + 's'}"
