"""What happens over time in a table of faces: events, smoothing and a summary of each face. NumPy only."""

from openau.temporal.events import RULE, Event, EventRule, EventStream, events_of, find_events
from openau.temporal.smooth import Smoother, smooth
from openau.temporal.summary import Summariser, Summary
from openau.temporal.tables import Beside, events_path, summary_path

__all__ = [
    "RULE", "Beside", "Event", "EventRule", "EventStream", "Smoother", "Summariser", "Summary", "events_of", "events_path",
    "find_events", "smooth", "summary_path",
]  # fmt: skip
