"""What happens over time in a table of faces: events and smoothing. NumPy only."""

from openau.temporal.events import Event, EventRule, EventStream, events_of, find_events

__all__ = ["Event", "EventRule", "EventStream", "events_of", "find_events"]
