"""Tables on disk: CSV, Parquet, JSON Lines, OpenFace-style CSV; streamed and crash-safe.

>>> with open_sink("clip.csv", detector.columns) as sink:   # doctest: +SKIP
...     for faces in detector.stream("clip.mp4"):
...         sink.write(faces)
"""

from openau.sinks.folder import FolderSink, IndexRow
from openau.sinks.formats import FORMAT_NAMES, OPENFACE_COLUMNS, SUFFIXES, FormatName, default_suffix, format_of
from openau.sinks.names import Names
from openau.sinks.table import TableSink

open_sink = TableSink
"""The short way to a table: `open_sink(path, columns, format=None)`."""

__all__ = [
    "FORMAT_NAMES",
    "OPENFACE_COLUMNS",
    "SUFFIXES",
    "FolderSink",
    "FormatName",
    "IndexRow",
    "Names",
    "TableSink",
    "default_suffix",
    "format_of",
    "open_sink",
]
