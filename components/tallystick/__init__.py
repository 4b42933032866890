"""One model on the joined data of several organisations, none of which shows another a row."""

__version__ = "0.1.0"
