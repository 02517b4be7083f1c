"""A trained model adapted to new people from a few hundred labelled faces, and an honest answer to whether that helped.

OUT/adapted.onnx, .json     the adapted model and its card, for `openau detect --model`
OUT/adapted.safetensors     its learnable weights, to train on from
OUT/report.md               what it gained, in words and a table; OUT/finetune.json: the same as data
OUT/experiment.json         what was asked for; another request is refused
OUT/runs/…                  a training run per fold, and `everyone`; finished ones are read when the request is made again

Cross-validation: people are dealt into folds; the model is adapted to all folds but one and judged on that one, beside the model as it was.
Nobody is judged by a model that has seen them. No epoch is chosen: the last one counts. The model that is kept has learned from everyone;
what is said of it are the numbers of the folds' models, which have learned from fewer.

AUs that the data does not label, or that fewer than `LEAST` faces show or do not show, are kept: while the others learn, their logits are
held at what the model said before (`PictureRecipe.remember`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openau.errors import InputError, UsageError
from openau.models.au_vit import AUViT, AUViTConfig, count_parameters
from openau.outputs import make_folder
from openau.training.adaptation import Findings, Material, compared, fit_usual, gather, write_report
from openau.training.au_file import Exported, Facts, read_calibration
from openau.training.calibrate import Calibration, neutral_logits
from openau.training.callbacks import Progress
from openau.training.checkpoint import Provenance, load_vit, save_checkpoint
from openau.training.experiment import RECORD, claim
from openau.training.export_pixels import export_pixels
from openau.training.face_pictures import FacePictures
from openau.training.picture_recipes import FINETUNE, PictureRecipe
from openau.training.picture_task import RANDOM
from openau.training.pictures import Pictures
from openau.training.predict import predict_pictures
from openau.training.run import train
from openau.training.splits import Split

Floats = npt.NDArray[np.float32]

ADAPTED = "adapted.onnx"
EVERYONE = "everyone"
_PARITY_CROPS = 8
_STEPS_TO_TIME = 5
_OF_THE_MODEL = ("architecture", "backbone", "aus", "model")
"""Settings of a recipe that the model to adapt decides."""
_NO_OPTIONS = frozenset(("aus", "vit", "backbone", "backbone_sha256", "method"))
"""Of a model's configuration: what is no option of a recipe's `model`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for.

    Attributes:
        model: what to call the model that is adapted.
        checkpoint: its learnable weights.
        out: folder; made if needed.
        recipe: how to train; architecture, backbone and AUs are the model's.
        data: what to call the data set; default its folder's name.
        folds: of the cross-validation; fewer if there are fewer people. 0 = none.
        labelled_only: the adapted model says nothing about AUs that the data did not teach it.
        name: architecture.tag for the card; default the model's architecture with the tag "adapted".
        seed: of folds, batches and variation. threads: of the CPU. device: Lightning's name of an accelerator.
        command: for the card: what gives these numbers again.
    """

    model: str
    checkpoint: Path
    out: Path
    recipe: PictureRecipe = FINETUNE
    data: str | None = None
    folds: int = 5
    labelled_only: bool = False
    name: str | None = None
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    command: str = "openau finetune"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the work stands.

    Attributes:
        stage: in words: "fold 2 of 5", "everyone".
        done, steps: of optimisation, over all stages.
        left: seconds, as far as can be told from the steps so far; None before that.
    """

    stage: str
    done: int
    steps: int
    left: float | None


Report = Callable[[Standing], None]


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """An adapted model, not yet exported.

    Attributes:
        model: it has learned from everyone. provenance: of it.
        aus: those it can speak about, for which there is a threshold. calibration: of these.
        findings: what is known about it.
        material: what it has learned from.
    """

    model: AUViT
    provenance: Provenance
    aus: tuple[int, ...]
    calibration: Calibration
    findings: Findings
    material: Material


def finetune(faces: FacePictures, plan: Plan, report: Report = lambda standing: None) -> tuple[Findings, Exported]:
    """Adapt a model, judge the adapting (`adapt`), write everything that the module's text lists.

    Raises:
        InputError, UsageError: see `adapt`.
        OutputError: a file cannot be written, or the exported model does not say what PyTorch says.
    """
    adapted = adapt(faces, plan, report)
    save_checkpoint((plan.out / ADAPTED).with_suffix(".safetensors"), adapted.model, adapted.provenance)
    exported = export_adapted(adapted, plan.out / ADAPTED, plan.name)
    write_report(plan.out, adapted.findings)
    return adapted.findings, exported


def adapt(faces: FacePictures, plan: Plan, report: Report = lambda standing: None) -> Adapted:
    """Adapt a model, and judge the adapting by cross-validation.

    On a CPU the same plan gives the same weights. A stopped call goes on when it is made again.

    Args:
        faces: labelled faces of the new people.
        plan: what is asked for.
        report: called after every step.

    Raises:
        InputError: the checkpoint cannot be read or is of another kind of model, no AU can be learned, or there is only one person and
            cross-validation is asked for.
        UsageError: the recipe changes what the model decides, `out` holds something else, or the model has seen these people.
        OutputError: a file cannot be written.
    """
    torch.set_num_threads(plan.threads)
    model, provenance = load_vit(plan.checkpoint)
    material = gather(faces, model.config.aus, plan.model)
    recipe = recipe_for_model(plan.recipe, model.config, provenance)
    stages = _stages(material, plan, {*provenance.trained, *provenance.watched})
    make_folder(plan.out, parents=True)
    claim(plan.out / RECORD, _record(plan, recipe, faces))
    start = time.perf_counter()
    before = predict_pictures(model, faces, material.rows, mirror=True)
    clock = _Clock([_steps(recipe, len(split.train)) for split in stages.values()], time.perf_counter() - start, report)
    after = np.full_like(before, np.nan)
    for number, (stage, split) in enumerate(stages.items()):
        model, provenance = _train(material, plan, recipe, stage, split, clock.stage(number, stage))
        tested = np.isin(material.rows, split.test)
        if tested.any():
            after[tested] = predict_pictures(model, faces, material.rows[tested], mirror=True)
    validated = len(stages) > 1
    if not validated:
        after = predict_pictures(model, faces, material.rows, mirror=True)
    aus, calibration = _calibration(material, after, plan)
    findings = Findings(
        model=plan.model, data=plan.data or faces.folder.name, faces=len(material.rows), people=len(material.names),
        folds=len(stages) - 1, aus=aus, counts={n: material.counts[n] for n in material.taught}, kept=material.kept,
        strange=material.strange, recipe=recipe, seed=plan.seed, command=plan.command,
        compared=compared(material, before, after, _fold_of(material, stages), plan.model) if validated else None,
    )  # fmt: skip
    return Adapted(model, provenance, aus, calibration, findings, material)


def export_adapted(adapted: Adapted, out: Path, name: str | None = None) -> Exported:
    """The finished model (.onnx) and its card (.json).

    Raises:
        UsageError: the name is no architecture.tag.
        OutputError: a file cannot be written, or ONNX Runtime does not give what PyTorch gives.
    """
    model, aus, findings = adapted.model, adapted.aus, adapted.findings
    config, faces = model.config, adapted.material.faces
    network: nn.Module = model if aus == config.aus else Columns(model, [config.aus.index(number) for number in aus])
    pictures = Pictures(faces.folder, faces.rows, config.vit.size)
    crops = np.stack([pictures.aligned(int(row)) for row in adapted.material.rows[:_PARITY_CROPS]])
    facts = Facts(
        name=name or f"{findings.recipe.architecture}.adapted",
        trained_on=findings.trained_on,
        recipe=findings.how,
        limits=findings.limits,
        measured=findings.measured,
        parameters=dict(zip(("learned", "all"), count_parameters(model), strict=True)),
    )
    backbone = {"backbone": config.backbone, "backbone_sha256": config.backbone_sha256} if config.backbone else {}
    return export_pixels(network, config.vit.size, aus, adapted.calibration, out, facts, crops, metadata=backbone)


def recipe_for_model(recipe: PictureRecipe, config: AUViTConfig, provenance: Provenance) -> PictureRecipe:
    """The recipe, for this model.

    Raises:
        UsageError: it changes what the model decides.
    """
    for name in _OF_THE_MODEL:
        if getattr(recipe, name) != getattr(FINETUNE, name):
            raise UsageError(f"--set {name}: is decided by the model that is adapted")
    if recipe.validation or recipe.keep_best or recipe.early_stopping is not None:
        raise UsageError("--set: finetune chooses no epoch, so validation, keep_best and early_stopping cannot be set")
    if not recipe.remember:
        raise UsageError("--set remember: must be above 0, or AUs without labels would be forgotten")
    assert isinstance(provenance.recipe, PictureRecipe)
    options = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(AUViTConfig)
        if field.name not in _NO_OPTIONS and getattr(config, field.name) != field.default
    }
    return dataclasses.replace(
        recipe,
        architecture=provenance.recipe.architecture,
        backbone=config.backbone or RANDOM,
        aus=config.aus,
        model=options,
    )


def deal(people: list[str], folds: int, seed: int) -> list[list[str]]:
    """People dealt at random into folds of about equally many."""
    dealt = np.random.default_rng([seed, 102]).permutation(people).tolist()
    return [sorted(dealt[first::folds]) for first in range(folds)]


def _stages(material: Material, plan: Plan, known: set[str]) -> dict[str, Split]:
    """What is trained, by name: the folds, then everyone.

    Args:
        material: to be dealt.
        plan: says in how many folds.
        known: people whom the model has seen.

    Raises:
        InputError: there is one person only, and folds are asked for.
        UsageError: folds are asked for, and the model has seen somebody.
    """
    nothing = np.zeros(0, np.intp)
    stages = {}
    if plan.folds:
        if len(material.names) < 2:
            raise InputError(
                f"{material.faces.folder}: all labelled faces show one person ({material.names[0]}), so nobody is left to find out on "
                "whether adapting helps; label at least one more, or use --no-validation"
            )
        if seen := sorted(known & set(material.names)):
            raise UsageError(
                f"{plan.model}: has seen {seen[0]}, so nobody can tell by these people whether adapting it helps; adapt the model it was "
                "made from, or use --no-validation"
            )
        folds = min(plan.folds, len(material.names))
        for number, names in enumerate(deal(material.names, folds, plan.seed), start=1):
            tested = np.isin(material.people, names)
            stages[f"fold {number} of {folds}"] = Split(material.rows[~tested], nothing, material.rows[tested])
    return {**stages, EVERYONE: Split(material.rows, nothing, nothing)}


def _train(
    material: Material, plan: Plan, recipe: PictureRecipe, stage: str, split: Split, report: Callable[[Progress], None]
) -> tuple[AUViT, Provenance]:
    """Train (or go on, or read) one stage."""
    folder = plan.out / "runs" / stage.replace(" ", "-")
    try:
        result = train(
            material.faces, folder, recipe, split=split, split_name="none" if stage == EVERYONE else stage, seed=plan.seed,
            threads=plan.threads, device=plan.device, resume=True, report=report, start=plan.checkpoint,
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{stage}: {error}") from None
    return load_vit(result.checkpoint)


def _steps(recipe: PictureRecipe, faces: int) -> int:
    return recipe.epochs * max(1, faces // min(recipe.batch, faces))


class _Clock:
    """Tells how far the work is and how long it will take.

    Args:
        steps: of each stage.
        judging: seconds it took to judge everybody once.
        report: told about every step.
    """

    def __init__(self, steps: list[int], judging: float, report: Report) -> None:
        self._steps, self._judging, self._report = steps, judging, report
        self._spent: list[float] = []
        self._last: float | None = None

    def stage(self, number: int, name: str) -> Callable[[Progress], None]:
        """What the training of one stage reports to."""
        self._last = None
        earlier = sum(self._steps[:number])

        def tell(progress: Progress) -> None:
            now = time.perf_counter()
            # Ends of epochs are told too; they are no steps, and what they take is part of the next one.
            if self._last is not None and not progress.numbers:
                self._spent.append(now - self._last)
            if not progress.numbers:
                self._last = now
            done = earlier + (progress.epoch - 1) * progress.steps + progress.step
            total = sum(self._steps)
            left = None
            if len(self._spent) >= _STEPS_TO_TIME:
                share = (len(self._steps) - number) / len(self._steps)
                left = (total - done) * float(np.mean(self._spent)) + self._judging * share
            self._report(Standing(name, done, total, left))

        return tell


def _calibration(material: Material, logits: Floats, plan: Plan) -> tuple[tuple[int, ...], Calibration]:
    """AUs of the finished model and their calibration: of what was learned on `logits` (n, A); of the rest as the model came with it.

    An AU whose threshold nobody knows is left out.
    """
    shipped = plan.checkpoint.with_suffix(".onnx")
    stated = read_calibration(shipped) if shipped.is_file() and not plan.labelled_only else None
    chosen, maps, neutral = [], [], []
    for a, number in enumerate(material.aus):
        if material.learned[a]:
            found = fit_usual(logits[:, a], material.labels[:, a], number)
            usual = neutral_logits(found(logits[:, a]), material.labels[:, a])
        elif stated is not None and number in stated[0]:
            place = stated[0].index(number)
            found, usual = stated[1].occurrence[place], stated[1].neutral_occurrence[place]
        else:
            continue
        chosen.append(number)
        maps.append(found)
        neutral.append(usual)
    return tuple(chosen), Calibration(tuple(maps), (), tuple(neutral), ())


class Columns(nn.Module):
    """Some of a network's logits: pixels → (B, len(columns))."""

    def __init__(self, network: nn.Module, columns: list[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("columns", torch.tensor(columns))

    def forward(self, pixels: Tensor) -> Tensor:
        """Judge."""
        return self.network(pixels).index_select(1, self.get_buffer("columns"))  # type: ignore[no-any-return]


def _fold_of(material: Material, stages: Mapping[str, Split]) -> npt.NDArray[np.str_]:
    """(n,) the stage in which each face was judged."""
    fold = np.full(len(material.rows), EVERYONE, object)
    for stage, split in stages.items():
        fold[np.isin(material.rows, split.test)] = stage
    return fold.astype(np.str_)


def _record(plan: Plan, recipe: PictureRecipe, faces: FacePictures) -> dict[str, object]:
    """What makes a request this one."""
    with plan.checkpoint.open("rb") as file:
        checkpoint = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model": checkpoint, "recipe": json.loads(recipe.to_json()), "seed": plan.seed, "data": dict(faces.meta),
    }  # fmt: skip
