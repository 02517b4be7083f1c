"""What `openau evaluate` judges: a model, checkpoints, another tool's tables or faces judged before, each beside the coders' labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from openau.cli import voice
from openau.errors import InputError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from openau.evaluation.matching import Match
    from openau.evaluation.scored import Scored
    from openau.training.joined import Features

Index = npt.NDArray[np.intp]

SCORED = ".parquet"
"""Suffix of judged faces."""

_BY_DEFAULT = "rig"
"""Column of the data whose values get tables of their own, where it exists."""
_STORE = "features"
"""Folder of the feature store inside a data set, as `openau train` makes it."""


@dataclass(frozen=True)
class Judged:
    """Judged faces, AUs the data has labels for, and positions of the faces for which a table of their own is wanted."""

    scored: Scored
    coded: tuple[int, ...]
    parts: tuple[tuple[str, Index], ...] = ()


@dataclass(frozen=True)
class Sources:
    """Where judged faces come from."""

    data: Path | None
    truth: Path | None
    hold_out: str | None
    views: str | None
    workers: int | None
    by: str | None
    reading: dict[str, Any]

    def tool(self, path: Path) -> Judged:
        """Another tool's predictions beside the truth; judged faces as they are."""
        from openau.datasets.manifest import read_manifest
        from openau.evaluation.matching import Reading, match
        from openau.evaluation.readers import read_predictions

        assert self.truth is not None
        manifest = _manifest_of(self.truth)
        rows = read_manifest(manifest)
        return self._matched(
            match(read_predictions(path), rows, _data_name(manifest.parent), Reading(**self.reading)), rows
        )

    def models(self, names: Sequence[str]) -> Judged:
        """A model, a team of checkpoints, or judged faces."""
        if _are_scored(names):
            if self.hold_out is not None or self.views is not None or self.by is not None:
                raise UsageError(
                    f"{names[0]}: --hold-out, --views and --by choose among labelled data, not among judged faces"
                )
            return self._read(names)
        if self.data is None:
            raise UsageError(f"{names[0]}: say which labelled faces to judge it on, with --data")
        if _are_checkpoints(names):
            return self._checkpoints([Path(name) for name in names], self.data)
        if self.views is not None:
            raise UsageError("--views is for checkpoints; a finished model is calibrated already")
        if len(names) > 1:
            raise UsageError(f"{names[1]}: finished models are judged one at a time")
        if (self.data / "meta.json").is_file():
            return self._model_on_store(names[0], self.data)
        return self._model_on_pictures(names[0], self.data)

    def other(self, name: str, is_tool: bool) -> Judged:
        """What `--against` names."""
        if _are_scored([name]):
            return self._read([name])
        return self.tool(Path(name)) if is_tool and Path(name).exists() else self.models([name])

    def _read(self, names: Sequence[str]) -> Judged:
        from openau.evaluation.scored import read_scored

        if len(names) > 1:
            raise UsageError(f"{names[1]}: judged faces are shown one file at a time; compare two with --against")
        scored = read_scored(Path(names[0]))
        return Judged(scored, scored.aus)

    def _matched(self, result: Match, rows: pa.Table) -> Judged:
        """The AUs that are lacking stand in its notes already."""
        return Judged(result.scored, result.scored.aus, self._parts(rows, result.rows))

    def _checkpoints(self, runs: list[Path], data: Path) -> Judged:
        from openau.cli.export import looks_at_pixels, parse_views
        from openau.cli.train import open_stores
        from openau.training.joined import judged
        from openau.training.judge import calibrate_team, calibrated, load_team, unseen_rows
        from openau.training.predict import predict

        if looks_at_pixels(runs):
            return self._run_on_pictures(runs[0], data)
        chosen = parse_views(self.views)
        store = open_stores([data])
        team = load_team(runs)
        rows = unseen_rows(team, store)
        if self.hold_out is not None:
            rows = np.intersect1d(rows, _named_rows(store, self.hold_out))
            if not len(rows):
                raise InputError(f"{store.folder}: of {self.hold_out}, these models have seen every subject")
        said = calibrated(predict(team.ensemble, judged(store), rows), calibrate_team(team, store, chosen)).mean()
        config = team.ensemble.config
        name = " + ".join("/".join(run.parts[-2:]) for run in runs)
        return self._from_store(name, said, store, rows, config.aus, config.intensity_aus, team.selection)

    def _run_on_pictures(self, run: Path, data: Path) -> Judged:
        from openau.datasets.manifest import aus_in
        from openau.training.checkpoint import checkpoint_file, load_vit
        from openau.training.face_pictures import FacePictures
        from openau.training.picture_judge import calibrate_on, judge_pictures, unseen_rows, watched_rows

        if self.views is not None:
            raise UsageError("--views is for models that read stored features")
        model, provenance = load_vit(checkpoint_file(run))
        faces = FacePictures.open(data)
        rows = unseen_rows(provenance, faces)
        if self.hold_out is not None:
            rows = np.intersect1d(rows, _named(faces.rows, self.hold_out, faces.ok[:, 0]))
            if not len(rows):
                raise InputError(f"{data}: of {self.hold_out}, the model has seen every subject")
        calibration = calibrate_on(model, faces, watched_rows(provenance, faces))
        result = judge_pictures(model, calibration, faces, rows, "/".join(run.parts[-2:]), provenance)
        return Judged(result, aus_in(faces.rows), self._parts(faces.rows, rows))

    def _model_on_store(self, name: str, data: Path) -> Judged:
        from openau.cli.train import open_stores
        from openau.runtime.network import AUNetwork
        from openau.training.joined import judged, layout_of
        from openau.training.predict import predict_with
        from openau.weights.store import resolve_model

        store = open_stores([data])
        card, file = resolve_model(name)
        if card.reads_pixels:
            raise UsageError(
                f"{card.name} looks at pixels, and {store.folder} is a feature store; give the data set itself, the folder of its manifest"
            )
        held = {"geometry": store.geometry.shape[2:], "hypercolumns": store.hypercolumns.shape[2:]}
        for what, sizes in held.items():
            read = tuple(card.input[what]) if what in card.input else sizes
            if read != sizes:
                raise InputError(
                    f"{store.folder}: holds {what} of size {_times(sizes)}, but {card.name} reads {_times(read)}"
                )
        network, made_by = AUNetwork(file, card), layout_of(store)
        if card.extractor != made_by.extractor or network.extractor_sha256 not in (None, made_by.sha256):
            raise InputError(
                f"{store.folder}: holds features of {made_by.extractor} ({made_by.sha256[:12]}…), "
                f"but {card.name} was trained on those of another {card.extractor}"
            )
        rows = (
            np.flatnonzero(judged(store).ok.any(axis=1)) if self.hold_out is None else _named_rows(store, self.hold_out)
        )

        def head(geometry: Any, hypercolumns: Any) -> tuple[Any, Any, Any, Any]:
            output = network.predict(geometry=geometry, hypercolumns=hypercolumns)
            return output.occurrence, output.intensity, output.left, output.right

        said = predict_with(head, judged(store), rows).mean()
        return self._from_store(card.name, said, store, rows, card.aus, card.intensity_aus, "none")

    def _model_on_pictures(self, name: str, data: Path) -> Judged:
        """As detection would judge them: no feature store, no copies."""
        from openau.datasets.manifest import read_manifest, template_of
        from openau.evaluation.matching import match
        from openau.runtime.pictures import judge_pictures

        manifest = _manifest_of(data)
        rows = read_manifest(manifest)
        if self.hold_out is not None:
            rows = rows.take(_named(rows, self.hold_out, np.ones(rows.num_rows, np.bool_)))
        images = [image for image in rows.column("image").to_pylist() if image is not None]
        if not images:
            raise InputError(f"{manifest}: none of its rows has a picture to judge")
        with _counting("pictures", len(images)) as advance:
            said = judge_pictures(name, manifest.parent, images, template_of(rows), self.workers, advance)
        return self._matched(match(said, rows, _data_name(manifest.parent)), rows)

    def _from_store(
        self, name: str, said: Any, store: Features, rows: Index, aus: tuple[int, ...], graded: tuple[int, ...], selection: Any
    ) -> Judged:  # fmt: skip
        from openau.datasets.manifest import aus_in
        from openau.training.judge import scored

        result = scored(name, said, store, rows, aus, graded, data=_data_name(store.folder), selection=selection)
        return Judged(result, aus_in(store.rows), self._parts(store.rows, rows))

    def _parts(self, rows: pa.Table, chosen: Index) -> tuple[tuple[str, Index], ...]:
        """Positions among the chosen rows of each value of the column `by`, if there are several."""
        column = self.by or _BY_DEFAULT
        if column not in rows.column_names:
            if self.by is not None:
                raise UsageError(f"--by {self.by}: the data has no such column; it has {', '.join(rows.column_names)}")
            return ()
        values = np.array([str(value) for value in rows.column(column).to_pylist()])[chosen]
        names = sorted(set(values.tolist()))
        if len(names) < 2:
            return ()
        return tuple((f"{column} {name}", np.flatnonzero(values == name)) for name in names)


@contextmanager
def _counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if that is a terminal."""
    console = voice.console()
    with Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def _times(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _are_checkpoints(models: Sequence[str]) -> bool:
    return all(Path(model).is_dir() or model.endswith(".safetensors") for model in models)


def _are_scored(models: Sequence[str]) -> bool:
    return all(model.endswith(SCORED) for model in models)


def _manifest_of(path: Path) -> Path:
    """The manifest that a path is, or that the data set in it holds."""
    if not path.is_dir():
        return path
    manifest = path / "manifest.parquet"
    if not manifest.is_file():
        raise InputError(f"{path}: holds neither a feature store (meta.json) nor a data set (manifest.parquet)")
    return manifest


def _data_name(folder: Path) -> str:
    """Name of a data set: of its folder, or of the folder that its feature store is in."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == _STORE else folder.name


def _named_rows(store: Features, hold_out: str) -> Index:
    from openau.training.joined import judged

    return _named(store.rows, hold_out, np.asarray(judged(store).ok.any(axis=1)))


def _named(rows: pa.Table, hold_out: str, usable: npt.NDArray[np.bool_]) -> Index:
    from openau.training.recipes import FANTRANS
    from openau.training.splits import HoldOut, held_out_rows

    return held_out_rows(rows, HoldOut.parse(hold_out), FANTRANS.split_seed, usable)
