"""Labelled faces, rendered or real, in one format."""
