"""A look-alike feature store: random features into which labels are woven, so that there is something to learn."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from openau.faces import features
from openau.models.regions import regions_of
from openau.training.features import FeatureStore

AUS = (1, 4, 6, 12, 25, 43)
SIDED = (6, 12)


def make_store(
    folder: Path,
    subjects: int = 24,
    images: int = 20,
    views: int = 3,
    seed: int = 0,
    points: int = 149,
    *,
    plain: bool = False,
) -> FeatureStore:
    """AU a's activation shows at a few landmarks of its region and in a few coordinates; sides show on their own side; mirror
    images exchange the sides; every subject has offsets of its own. With `plain` the last of the views is the plain one."""
    rng = np.random.default_rng(seed)
    landmarks = features.POINTS[:points]
    count, channels, size = subjects * images, 24, 3 * len(landmarks) + 42
    subject = np.repeat(np.arange(subjects), images)
    left = np.clip(rng.random((count, len(AUS))) * 1.6 - 0.6, 0, 1)
    one_sided = rng.random((count, len(AUS))) < 0.4
    right = np.where(one_sided, np.clip(rng.random((count, len(AUS))) * 1.6 - 0.6, 0, 1), left)
    place = {number: np.array(region.points) for region in regions_of(AUS, landmarks.tolist()) for number in region.aus}
    x = features.CANONICAL[landmarks, 0]
    geometry = np.zeros((count, views, size), np.float32)
    columns = np.zeros((count, views, len(landmarks), channels), np.float32)
    flipped = rng.random((count, views)) < 0.5
    flipped[:, views - plain :] = False
    offset = rng.normal(0, 0.3, (subjects, size))[subject]
    direction = np.random.default_rng(99).normal(size=(len(AUS), channels))
    for view in range(views):
        geometry[:, view] = 0.2 * rng.normal(size=(count, size)) + offset
        columns[:, view] = rng.normal(size=columns[:, view].shape) + 2.0
        for a, number in enumerate(AUS):
            seen_left = np.where(flipped[:, view], right[:, a], left[:, a])
            seen_right = np.where(flipped[:, view], left[:, a], right[:, a])
            level = np.where(x[place[number]] > 0, seen_left[:, None], seen_right[:, None])
            columns[:, view, place[number]] += 0.5 * level[..., None] * direction[a]
            geometry[:, view, 3 * place[number] + 1] += 0.3 * level
    ok = np.ones((count, views), bool)
    ok[::17, -1] = views == 1
    ok[5] = False
    geometry[~ok] = 0
    columns[~ok] = 0
    rows: dict[str, object] = {
        "image": [f"{i}.jpg" for i in range(count)],
        "subject": [f"s{number:03d}" for number in subject],
        "clip": pa.nulls(count, pa.string()),
        "frame": pa.nulls(count, pa.int64()),
        "fold": subject % 3 + 1,
        "rig": np.where(subject % 4 == 0, "anny", "ict").tolist(),
    }
    for a, number in enumerate(AUS):
        both = np.maximum(left[:, a], right[:, a])
        rows[f"AU{number:02d}"] = pa.array(
            np.where(both >= 0.2, 1, 0).astype(np.int8), mask=(both >= 0.1) & (both < 0.2)
        )
        rows[f"AU{number:02d}_i"] = (5 * both).astype(np.float32)
        if number in SIDED:
            for side, value in (("L", left[:, a]), ("R", right[:, a])):
                rows[f"AU{number:02d}_{side}"] = pa.array(
                    (value >= 0.2).astype(np.int8), mask=(value >= 0.1) & (value < 0.2)
                )
                rows[f"AU{number:02d}_i{side}"] = (5 * value).astype(np.float32)
    folder.mkdir(parents=True)
    for name, array in (
        ("geometry", geometry), ("hypercolumns", columns.astype(np.float16)), ("flipped", flipped), ("ok", ok),
        ("done", np.ones(count, bool)),
    ):  # fmt: skip
        np.save(folder / f"{name}.npy", array)
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    meta = {
        "G": size,
        "P": len(landmarks),
        "C": channels,
        "points": landmarks.tolist(),
        "views": views - plain,
        "plain": plain,
        "rows": count,
        "seed": seed,
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return FeatureStore.open(folder)
