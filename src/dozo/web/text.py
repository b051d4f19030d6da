"""What a text from outside must be."""


def is_clean(text: str) -> bool:
    """Whether a text is one that every database takes."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
