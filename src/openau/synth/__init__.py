"""Faces whose Action Units are known, because they are rendered."""
