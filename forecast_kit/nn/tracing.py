"""One message of TensorFlow's that is not true of what is done here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def traced_once() -> Iterator[None]:
    """A stretch of code in which TensorFlow does not say that Keras's steps are traced too often.

    Each model's step is traced once, as it must be. TensorFlow counts by the code that is traced, which is Keras's and
    one for all models: it takes five models for one that is traced five times. That message alone, of Keras's steps
    alone, is left out, and only in here.

    >>> with traced_once():
    ...     logging.getLogger("tensorflow").debug("something else is still logged")
    """
    logger = logging.getLogger("tensorflow")

    def is_other(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return "triggered tf.function retracing" not in message or "TensorFlowTrainer." not in message

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
