"""What the API answers, for its documentation (OpenAPI) and for what reads it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_ROW = {
    "source": "photo.jpg", "frame": 0, "timestamp": 0.0, "face_id": 0, "score": 0.9998, "x": 180.21, "y": 62.4, "width": 103.3,
    "height": 131.85, "pitch": 3.1, "yaw": -8.4, "roll": 4.2, "AU06": 0.91, "AU12": 0.98, "AU12_i": 3.1, "AU12_L": 0.97, "AU12_R": 0.98,
}  # fmt: skip


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 has it; `detail` is one sentence a person can act on."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank", "title": "Unsupported Media Type", "status": 415,
                "detail": "notes.txt: this is neither a photo nor a video OpenAU can read",
            }
        }
    )  # fmt: skip
    type: str
    title: str
    status: int
    detail: str


class Photo(BaseModel):
    """A photo's table."""

    source: str = Field(description="The file's name, as it was sent.", examples=["photo.jpg"])
    kind: Literal["image"]
    model: str = Field(description="The model that judged.", examples=["fantrans_facemesh.synth"])
    width: int = Field(description="Pixels of the upright picture.", examples=[512])
    height: int = Field(examples=[512])
    faces: int = Field(description="Faces found.", examples=[1])
    seconds: float = Field(description="Time for finding and judging them.", examples=[0.041])
    rows: list[dict[str, Any]] = Field(
        description="A row per face, the largest first, with the columns of docs/columns.md; a photo without a face has one row with empty "
        "fields. AU12: probability, 0.5 is the threshold; AU12_i: intensity 0–5; AU12_L, AU12_R: the subject's own sides.",
        examples=[[_ROW]],
    )
    landmarks: list[list[float]] | None = Field(
        None, description="With `landmarks=true`: x, y of Face Mesh's 468 points, in pixels, face by face."
    )


class JobDocument(BaseModel):
    """A video and how far it is."""

    id: str = Field(examples=["pK3rJ0nB8mCq1wTzXvYh2A"])
    source: str = Field(examples=["clip.mp4"])
    model: str = Field(examples=["fantrans_facemesh.synth"])
    state: Literal["queued", "running", "done", "failed"]
    progress: float | None = Field(
        description="Share that is done, 0–1; null where the length is not known.", examples=[0.42]
    )
    ahead: int = Field(description="Videos that come before this one.", examples=[0])
    frames: int = Field(examples=[126])
    faces: int = Field(description="Rows that hold a face.", examples=[126])
    width: int = Field(examples=[640])
    height: int = Field(examples=[480])
    duration: float | None = Field(description="Seconds, as far as the file tells.", examples=[12.0])
    problem: str | None = Field(
        description="Why it failed, or what is missing of a damaged video, whose first part was judged."
    )
    kept_for: float | None = Field(description="Seconds for which the results are still kept.", examples=[3600.0])
    formats: list[str] = Field(
        description="Formats of `result`, once it is done.", examples=[["csv", "jsonl", "parquet"]]
    )
    report: bool = Field(description="Whether there is a report.")


class MeasureDocument(BaseModel):
    """A measured figure with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    command: str


class UnitDocument(BaseModel):
    """An Action Unit a model judges."""

    number: int = Field(examples=[12])
    column: str = Field(examples=["AU12"])
    name: str = Field(examples=["lip corner puller"])
    muscle: str = Field(examples=["zygomaticus major"])
    region: str = Field(examples=["mouth"])
    intensity: bool
    sided: bool


class ModelDocument(BaseModel):
    """A model's card: what it judges, what it was trained on, how good it is, and where it must not be used."""

    name: str = Field(examples=["fantrans_facemesh.synth"])
    default: bool
    architecture: str
    reads: str = Field(description="The frozen network whose features it reads, or `pixels`.")
    licence: str
    origin: str
    trained_on: str
    size: int = Field(description="Bytes.")
    limits: str
    aus: list[UnitDocument]
    measured: dict[str, MeasureDocument]


class LimitsDocument(BaseModel):
    """What this server takes."""

    bytes: int
    pixels: int
    seconds: float
    kept_for: float


class ModelsDocument(BaseModel):
    """The models of this server, and what it takes."""

    version: str
    models: list[ModelDocument]
    limits: LimitsDocument
    login: bool = Field(description="Whether the server wants a token.")
    parquet: bool = Field(description="Whether results can be had as Parquet.")
    report: bool = Field(description="Whether videos can have a report.")
    contours: list[tuple[list[int], bool]] = Field(
        description="Lines of a face: numbers of landmarks, and whether the line is closed."
    )


class Health(BaseModel):
    """The server is there."""

    status: Literal["ok"]
    version: str
