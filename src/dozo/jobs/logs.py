"""DBOS's log: warnings and errors only, to wherever the process sends its log."""

import logging


def keep_logging_ours() -> None:
    """Keep DBOS from adding a handler of its own, which it does only when there is none."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.WARNING)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
