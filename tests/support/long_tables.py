"""Tables of recordings made up: smooth curves with known bumps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from openau.result import AUColumns, Faces

COLUMNS = AUColumns((1, 6, 12, 26), (6, 12), (12,))


def recording(
    bumps: Sequence[tuple[int, float, float]],
    seconds: float = 10.0,
    rate: float = 25.0,
    source: str = "clip.mp4",
    face_id: int = 0,
    columns: AUColumns = COLUMNS,
    seed: int = 0,
) -> Faces:
    """One face; each bump (AU, from, to) raises its AU to 0.9 (intensity 4), of AU12 only on the left; else AUs are near 0.1."""
    n = round(seconds * rate)
    times = np.arange(n) / rate
    rng = np.random.default_rng(seed)
    values = np.full((n, len(columns.names)), 0.1, np.float32) + rng.uniform(0, 0.02, (n, len(columns.names)))
    for number, start, stop in bumps:
        rows = (times >= start) & (times < stop)
        for name, height in ((f"AU{number:02d}", 0.9), (f"AU{number:02d}_i", 4.0), (f"AU{number:02d}_L", 0.95)):
            if name in columns.names:
                values[rows, columns.names.index(name)] = height
    return Faces(
        columns=columns,
        source=np.full(n, source, object),
        frame=np.arange(n),
        timestamp=times,
        face_id=np.full(n, face_id),
        score=np.full(n, 0.99, np.float32),
        box=np.tile(np.array([50, 60, 120, 150], np.float32), (n, 1)),
        pose=np.zeros((n, 3), np.float32),
        values=values.astype(np.float32),
    )
