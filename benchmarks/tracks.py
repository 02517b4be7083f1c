"""Count exchanged identities on composed clips whose people are known: rendered people who move, cross, hide, leave and come back.

    python benchmarks/tracks.py --pairs 8
    python benchmarks/tracks.py --pairs 18 --descriptor     # how well pictures of one scene are told apart

Every person is rendered several times with other expressions and head poses under the light of one scene; a clip shows the next picture
every third frame. The rows say, per kind of clip: frames in which a person shows, how many of them have a row, how often a person's number
changed, and how often a number passed from one person to another.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from openau.faces import FaceFinder, Tracker
from openau.faces.identity import describe
from openau.faces.subject import RESEMBLES
from openau.faces.track import ALIKE
from openau.synth.assets import Assets
from openau.synth.rigs import load_rig
from openau.synth.sampler import sample_person, sample_shot
from openau.synth.scene import Studio

WIDTH, HEIGHT, SIDE, LOOKS = 960, 540, 224, 5
Path = Callable[[int], tuple[int, int] | None]


def render(count: int, rig: str) -> list[list[np.ndarray]]:
    """Pictures (SIDE, SIDE, 3) of each person, in one scene each."""
    assets = Assets(None)
    studio = Studio(load_rig(rig, assets), assets, SIDE)
    people = []
    for number in range(count):
        rng = np.random.default_rng([606, number])
        person = sample_person(number, rig, rng)
        sitter = studio.person(person, rng)
        scene = replace(sample_shot(person, studio.rig.recipe, rng), occluder=None)
        pictures = []
        for look in range(LOOKS):
            other = sample_shot(person, studio.rig.recipe, rng)
            shot = replace(
                scene, activation=other.activation, expression=other.expression, wrinkles=other.wrinkles,
                nuisance=other.nuisance, head=other.head, gaze=other.gaze,
            )  # fmt: skip
            pictures.append(studio.shoot(sitter, shot, np.random.default_rng([606, number, look])).image)
        people.append(pictures)
    return people


def still(x: int, y: int) -> Path:
    return lambda _: (x, y)


CLIPS: dict[str, tuple[int, list[Path], Path | None]] = {
    "moving": (60, [lambda i: (20 + 10 * i, 40), lambda i: (700 - 10 * i, 290)], None),
    "crossing": (60, [lambda i: (20 + 12 * i, 120), lambda i: (710 - 12 * i, 130)], None),
    "hidden 2 s": (90, [still(60, 120), still(640, 140)], lambda i: (40, 90) if 15 <= i < 65 else None),
    "leaving, returning": (90, [lambda i: None if 20 <= i < 55 else (60, 40) if i < 20 else (500, 280), still(680, 60)], None),
    "both leave, change places": (
        100,
        [lambda i: None if 20 <= i < 50 else (60, 100) if i < 20 else (640, 120),
         lambda i: None if 20 <= i < 50 else (640, 110) if i < 20 else (70, 130)],
        None,
    ),
    "one leaves, another comes": (80, [lambda i: (300, 100) if i < 30 else None, lambda i: (320, 110) if i >= 45 else None], None),
}  # fmt: skip


def frames(people: list[list[np.ndarray]], length: int, paths: list[Path], cover: Path | None) -> Iterator[np.ndarray]:
    """The frames of a clip, on a backdrop of coarse noise."""
    rng = np.random.default_rng(1)
    backdrop = cv2.resize(rng.integers(60, 190, (6, 10, 3)).astype(np.uint8), (WIDTH, HEIGHT))
    for index in range(length):
        image = backdrop.copy()
        for pictures, path in zip(people, paths, strict=True):
            if (place := path(index)) is not None:
                picture = pictures[index // 3 % LOOKS]
                x, y = place
                image[y : y + SIDE, x : x + SIDE] = picture
        if cover is not None and (place := cover(index)) is not None:
            image[place[1] : place[1] + 300, place[0] : place[0] + 270] = (70, 90, 60)
        yield image


def follow(finder: FaceFinder, memory: float, people: list[list[np.ndarray]], clip: str) -> Counter[str]:
    """What happened in one clip."""
    length, paths, cover = CLIPS[clip]
    tracker = Tracker(finder, memory=memory)
    told: Counter[str] = Counter()
    number_of: dict[int, int] = {}
    person_of: dict[int, int] = {}
    for index, image in enumerate(frames(people, length, paths, cover)):
        places = {n: p for n, path in enumerate(paths) if (p := path(index)) is not None}
        covered = cover is not None and cover(index) is not None
        told["shown"] += len(places) - covered
        for tracked in tracker.update(image, index / 25):
            middle = tracked.face.box[:2] + tracked.face.box[2:] / 2
            gaps = {n: float(np.abs(middle - np.add(p, SIDE / 2)).max()) for n, p in places.items()}
            person = min(gaps, key=gaps.__getitem__, default=-1)
            if person < 0 or gaps[person] > SIDE / 3 or (len(gaps) > 1 and abs(gaps[0] - gaps[1]) < 40):
                continue  # nobody's, or of two people who cover each other
            told["seen"] += 1
            told["changed"] += number_of.get(person, tracked.id) != tracked.id
            told["passed on"] += person_of.get(tracked.id, person) != person
            number_of[person], person_of[tracked.id] = tracked.id, person
    return told


def verify(finder: FaceFinder, people: list[list[np.ndarray]]) -> None:
    """Print how often two pictures of one person, and of two people, are as similar as the tracker's thresholds ask for."""
    seen = [
        (describe(faces[0]), person)
        for person, pictures in enumerate(people)
        for picture in pictures
        if (faces := finder.find_large(picture))
    ]
    looks, names = np.stack([look for look, _ in seen]), np.array([person for _, person in seen])
    first, second = np.triu_indices(len(names), 1)
    similarity, same = (looks @ looks.T)[first, second], names[first] == names[second]
    other, own = np.sort(similarity[~same]), similarity[same]
    print(
        f"AUC {np.searchsorted(other, own).mean() / len(other):.3f} of {len(own):,} same and {len(other):,} other pairs"
    )
    for threshold in (ALIKE, RESEMBLES):
        print(f"similarity {threshold}: same {(own >= threshold).mean():.0%}, others {(other >= threshold).mean():.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8, help="Pairs of people; each is in every clip.")
    parser.add_argument("--rig", default="anny", choices=["anny", "ict"])
    parser.add_argument("--descriptor", action="store_true", help="Judge the descriptor alone, no clips.")
    arguments = parser.parse_args()
    people = render(2 * arguments.pairs, arguments.rig)
    finder = FaceFinder()
    if arguments.descriptor:
        verify(finder, people)
        return
    print(
        f"| {arguments.pairs} clips each | shown | with a row | number changed | number passed on | changed, without memory |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for clip in CLIPS:
        totals = [Counter[str](), Counter[str]()]
        for pair in range(arguments.pairs):
            for total, memory in zip(totals, (30.0, 0.0), strict=True):
                total.update(follow(finder, memory, people[2 * pair : 2 * pair + 2], clip))
        told, plain = totals
        share = told["seen"] / told["shown"]
        print(
            f"| {clip} | {told['shown']:,} | {share:.0%} | {told['changed']} | {told['passed on']} | {plain['changed']} |"
        )


if __name__ == "__main__":
    main()
