"""Made-up results of a model: people who differ, clips of neighbouring frames, unknown labels and missed faces."""

import numpy as np

from openau.evaluation.scored import Scored


def made_up(
    people: int = 12,
    frames: int = 60,
    aus: tuple[int, ...] = (1, 4, 12),
    parts: int = 3,
    seed: int = 0,
    model: str = "ours",
) -> Scored:
    rng = np.random.default_rng(seed)
    count, width = people * frames, len(aus)
    person = np.repeat(np.arange(people), frames)
    wave = np.cumsum(rng.normal(0, 0.6, (people, frames, width)), axis=1).reshape(count, width)
    truth = (wave > np.linspace(-0.5, 1, width)).astype(np.float32)
    said = 1 / (1 + np.exp(-(wave + rng.normal(0, 1.5, (count, width)) + rng.normal(0, 0.7, (people, width))[person])))
    truth[rng.random((count, width)) < 0.05] = np.nan
    said[rng.random(count) < 0.03] = np.nan
    grades = np.clip(np.round(wave[:, :1] + 2), 0, 5).astype(np.float32)
    part = np.array([f"part {k % parts + 1}" if parts > 1 else "" for k in range(people)])[person]
    return Scored(
        model=model,
        data="look-alike",
        protocol=f"look-alike-{parts}fold",
        aus=aus,
        probability=said.astype(np.float32),
        occurrence=truth,
        subject=np.array([f"S{k:02d}" for k in range(people)])[person],
        clip=np.array([f"S{k:02d}_T{c}" for k in range(people) for c in (1, 2) for _ in range(frames // 2)]),
        frame=np.tile(np.arange(frames // 2), 2 * people).astype(np.int64),
        part=part,
        thresholds={name: np.full(width, 0.4, np.float32) for name in sorted(set(part.tolist()))},
        intensity_aus=aus[:1],
        intensity=np.clip(grades + rng.normal(0, 0.8, (count, 1)), 0, 5).astype(np.float32),
        intensity_labels=grades,
        selection="validation",
        notes=("Made up.",),
    )
