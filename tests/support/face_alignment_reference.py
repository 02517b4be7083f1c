"""What the `face-alignment` package's own FAN computes; run by the Python of an environment that has it (face_alignment_env.sh makes one).

    ENV/bin/python tests/support/face_alignment_reference.py OUT

writes for 1 to 4 stacks OUT/fan<stacks>.pth (a state dict with random weights and used norms) and OUT/fan<stacks>.npz (a picture and the
last heatmaps), for one stack also the older format and TorchScript, and OUT/layout.txt with names and shapes of the two-stack network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from face_alignment.models.fan import FAN


def used(stacks: int) -> torch.nn.Module:
    """A FAN no weight of which is at its initial value."""
    generator = torch.Generator().manual_seed(stacks)
    network = FAN(stacks).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif tensor.ndim == 1:
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return network


def main(out: Path) -> None:
    torch.set_num_threads(1)
    for stacks in (1, 2, 3, 4):
        network = used(stacks)
        picture = torch.rand((1, 3, 256, 256), generator=torch.Generator().manual_seed(9))
        with torch.no_grad():
            heatmaps = network(picture)[-1]
        torch.save(network.state_dict(), out / f"fan{stacks}.pth")
        np.savez(out / f"fan{stacks}.npz", picture=picture.numpy(), heatmaps=heatmaps.numpy())
        if stacks == 1:
            torch.save(network.state_dict(), out / "fan1_old.pth.tar", _use_new_zipfile_serialization=False)
            torch.jit.trace(network, picture, strict=False).save(str(out / "fan1_script.zip"))
        if stacks == 2:
            shapes = {name: "x".join(map(str, tensor.shape)) for name, tensor in network.state_dict().items()}
            (out / "layout.txt").write_text("".join(f"{name} {shape or '-'}\n" for name, shape in shapes.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
