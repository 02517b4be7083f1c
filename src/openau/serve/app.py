"""The application: what is answered at which path."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from openau import __version__
from openau.serve.catalogue import Catalogue
from openau.serve.guard import COOKIE, SESSION_SECONDS, Guard, Sessions
from openau.serve.jobs import Job, Jobs
from openau.serve.live import Live, Session
from openau.serve.metrics import CONTENT_TYPE, Metrics
from openau.serve.pool import CrashedError, OverdueError, Pool
from openau.serve.problems import MEDIA_TYPE, ProblemError
from openau.serve.schema import Health, JobDocument, ModelsDocument, Photo, ProblemDocument
from openau.serve.settings import Settings
from openau.serve.uploads import FIELD, FORM, Store, Upload
from openau.serve.worker import has_report

PAGE = Path(__file__).parent / "page"
GONE = 499
"""Status, in the metrics only, of a request whose client left."""
SWEEP_SECONDS = 10.0
RESULT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; font-src data:"
)
"""A report is one file with its scripts inside: it gets no origin, so none of them can reach this server."""

_ABOUT = """Facial Action Units of photos and videos. Nothing leaves the machine this server runs on.

Uploads are written to a private folder and deleted as soon as they have been judged; results of videos are deleted a stated time later.
Errors are `application/problem+json` (RFC 9457). With a token, send `Authorization: Bearer TOKEN`.

**Live**: a WebSocket at `/v1/live?model=…`. Send binary messages: 8 bytes (a little-endian double of your own, say your clock in
milliseconds), then a JPEG. Answers are JSON: `type` (`hello`, `faces` or `problem`), `clock` (your number), `faces` (id, score, box,
pose, values by column, landmarks), `ms` (time in the server), `received` and `dropped`. A frame that comes before the last one was
looked at takes its place: nothing is queued.
"""

T = TypeVar("T")


@dataclass(slots=True)
class _Rooms:
    """What the application is made of."""

    settings: Settings
    catalogue: Catalogue
    metrics: Metrics
    sessions: Sessions
    store: Store
    photos: Pool
    videos: Pool
    jobs: Jobs
    live: Live


def make_app(settings: Settings) -> FastAPI:
    """The application of `openau serve`.

    Its processes and its private folder begin and end with its lifespan.

    Args:
        settings: limits, token, model …

    Raises:
        UsageError: there is no model of this name.
        WeightsError: a model's card cannot be read.
    """
    metrics = Metrics()
    catalogue = Catalogue(settings)
    sessions = Sessions(settings.token)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = Store(settings.max_bytes, settings.max_disk, settings.upload_seconds)
        photos = Pool(settings.workers, settings.queue, "photos")
        videos = Pool(settings.jobs, settings.queue, "videos")
        most = settings.jobs + settings.queue
        jobs = Jobs(videos, most, store, settings.stall_seconds, settings.max_seconds, settings.keep_seconds, metrics)
        live = Live(settings.workers, settings.live_sessions, metrics)
        rooms = _Rooms(settings, catalogue, metrics, sessions, store, photos, videos, jobs, live)
        app.state.rooms = rooms
        _add_gauges(rooms)
        live.start()
        warming = asyncio.create_task(_warm(rooms)) if settings.warm else None
        sweeper = asyncio.create_task(jobs.sweep(min(SWEEP_SECONDS, settings.keep_seconds)))
        try:
            yield
        finally:
            sweeper.cancel()
            if warming is not None:
                warming.cancel()
                await asyncio.wait({warming})
            await jobs.close()
            await live.close()
            await asyncio.to_thread(photos.close)
            await asyncio.to_thread(videos.close)
            store.close()

    app = FastAPI(
        title="OpenAU", version=__version__, description=_ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )  # fmt: skip
    _add_errors(app)
    _add_page(app, sessions)
    _add_api(app)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_middleware(
        Guard,
        sessions=sessions,
        bound=settings.host,
        names=settings.allowed_hosts,
        connections=settings.connections,
        metrics=metrics,
    )
    return app


async def _warm(rooms: _Rooms) -> None:
    """Let the first photo and the first live picture find their processes ready."""
    model = rooms.catalogue.place(rooms.catalogue.default)
    with suppress(ProblemError, CrashedError, OverdueError):  # whoever asks first is told
        await rooms.photos.run({"task": "load", "model": model}, rooms.settings.photo_seconds)
    rooms.live.warm(model)


def _add_gauges(rooms: _Rooms) -> None:
    metrics = rooms.metrics
    metrics.gauge(
        "openau_jobs", "Videos now, by state.", lambda: {(("state", k),): v for k, v in rooms.jobs.counts().items()}
    )
    metrics.gauge("openau_live_sessions", "Live sessions now.", lambda: {(): rooms.live.count})
    metrics.gauge("openau_photos_waiting", "Photos that wait for a process.", lambda: {(): rooms.photos.waiting})


def _add_errors(app: FastAPI) -> None:
    """Every error is a problem document."""

    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        details = {404: f"there is nothing at {request.url.path}", 405: f"{request.method} is not possible here"}
        return ProblemError(
            error.status_code, details.get(error.status_code, str(error.detail)), error.headers
        ).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = "; ".join(f"{'.'.join(str(part) for part in e['loc'][1:])}: {e['msg'].lower()}" for e in error.errors())
        return ProblemError(422, found).response()

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        return ProblemError(500, "this is a defect of OpenAU; its console says more").response()


def _add_page(app: FastAPI, sessions: Sessions) -> None:
    """The page and its login."""

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        name = "index.html" if sessions.admits(request) else "login.html"
        return HTMLResponse((PAGE / name).read_text(encoding="utf-8"))

    @app.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        given = await _small_form(request)
        if not sessions.knows(given.get("token", "")):
            await asyncio.sleep(0.2)
            return HTMLResponse(
                (PAGE / "login.html").read_text(encoding="utf-8").replace("<!--wrong", "<").replace("wrong-->", ""), 401
            )
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE,
            sessions.begin(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @app.post("/logout", include_in_schema=False)
    async def logout(request: Request) -> Response:
        sessions.end(request)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE)
        return answer


async def _small_form(request: Request) -> dict[str, str]:
    """Fields of a short urlencoded form."""
    from urllib.parse import parse_qsl

    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > 4096:
            raise ProblemError(413, "the form is too large")
    return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=10))


def _add_api(app: FastAPI) -> None:
    """Everything but the page."""

    @app.get("/healthz", tags=["server"], summary="Is the server there?", response_model=Health)
    async def healthz() -> Health:
        return Health(status="ok", version=__version__)

    @app.get(
        "/metrics",
        tags=["server"],
        summary="Counters for Prometheus",
        response_class=PlainTextResponse,
        responses=_problems(401),
    )
    async def metrics() -> Response:
        return Response(_rooms(app).metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(_openapi(app))

    @app.get(
        "/v1/models", tags=["models"], summary="The models' cards, and the server's limits", response_model=ModelsDocument,
        responses=_problems(401),
    )  # fmt: skip
    async def models() -> ModelsDocument:
        return _rooms(app).catalogue.document()

    @app.post(
        "/v1/detect",
        tags=["detect"],
        summary="Action Units of a photo, at once, or of a video, as a job",
        response_model=Photo,
        response_model_exclude_none=False,
        responses={
            200: {
                "description": "A photo's table; as CSV with `Accept: text/csv`.",
                "content": {"text/csv": {"schema": {"type": "string"}}},
            },
            202: {
                "description": "A video was accepted.",
                "model": JobDocument,
                "headers": {"Location": {"description": "Of the job.", "schema": {"type": "string"}}},
            },
            **_problems(400, 401, 403, 404, 408, 413, 415, 422, 503, 504, 507),
        },
        openapi_extra={"requestBody": _REQUEST_BODY},
    )
    async def detect(
        request: Request,
        model: Annotated[str | None, Query(description="A model of /v1/models. Default: the server's.")] = None,
        landmarks: Annotated[bool, Query(description="Photos: give Face Mesh's landmarks, too.")] = False,
        report: Annotated[
            bool,
            Query(
                description="Videos: make a report, too; its key frames show faces, and it is deleted with the tables."
            ),
        ] = False,
        name: Annotated[
            str | None, Query(description="The file's name, where the body is the file itself.", max_length=1000)
        ] = None,
    ) -> Response:
        return await _detect(request, _rooms(app), model, landmarks, report)

    job_errors = _problems(401, 404)

    @app.get(
        "/v1/jobs/{id}", tags=["jobs"], summary="How far a video is", response_model=JobDocument, responses=job_errors
    )
    async def job(id: str) -> JobDocument:
        rooms = _rooms(app)
        return _job_document(rooms, rooms.jobs.get(id))

    @app.delete(
        "/v1/jobs/{id}",
        tags=["jobs"],
        summary="Stop a job and delete all there is of it",
        status_code=204,
        responses=job_errors,
    )
    async def delete(id: str) -> Response:
        rooms = _rooms(app)
        await rooms.jobs.remove(rooms.jobs.get(id))
        return Response(status_code=204)

    @app.get(
        "/v1/jobs/{id}/result",
        tags=["jobs"],
        summary="A video's table",
        response_class=FileResponse,
        responses={200: {"content": {kind: {} for kind in RESULT_TYPES.values()}}, **_problems(401, 404, 406, 409)},
    )
    async def result(id: str, format: Literal["csv", "jsonl", "parquet"] = "csv") -> Response:
        rooms = _rooms(app)
        found = _ended(rooms.jobs.get(id))
        file = found.folder / f"result.{format}"
        if not file.is_file():
            raise ProblemError(406, "this server cannot write Parquet; run there: pip install 'openau[tables]'")
        stem = Path(found.upload.name).stem or "video"
        return _file(file, RESULT_TYPES[format], f"{stem}_aus.{format}")

    @app.get(
        "/v1/jobs/{id}/report", tags=["jobs"], summary="A video's report, a page of its own", response_class=HTMLResponse,
        responses=_problems(401, 404, 409),
    )  # fmt: skip
    async def report(id: str) -> Response:
        found = _ended(_rooms(app).jobs.get(id))
        file = found.folder / "report.html"
        if not file.is_file():
            raise ProblemError(404, "there is no report of this video")
        return FileResponse(
            file, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": REPORT_POLICY}
        )

    @app.websocket("/v1/live")
    async def live(socket: WebSocket, model: str | None = None) -> None:
        await _live(socket, _rooms(app), model)


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": f"A form whose field `{FIELD}` is the file, or the file itself.",
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {FIELD: {"type": "string", "format": "binary", "description": "A photo or a video."}},
            }
        },
        "image/*": _BINARY,
        "video/*": _BINARY,
        "application/octet-stream": _BINARY,
    },
}

_WHY = {
    400: "The form is broken or cut short, or nothing was sent.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site's page.",
    404: "There is no such model, job, report.",
    406: "The server cannot write this format.",
    408: "The client fell silent.",
    409: "The job is not over yet, or failed.",
    413: "Too many bytes, pixels or seconds.",
    415: "Neither a photo nor a video.",
    422: "The file is damaged or cut short, or a parameter is wrong.",
    503: "Too much to do; `Retry-After` says when to try again.",
    504: "The photo took too long.",
    507: "No room on the disk.",
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documentation of errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {status: {"description": _WHY[status], "content": content} for status in statuses}


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The API's description; made once."""
    fresh = app.openapi_schema is None
    document = app.openapi()
    if fresh:
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["ProblemDocument"] = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path in document["paths"].values():
            for operation in path.values():
                if "422" in operation["responses"]:
                    operation["responses"]["422"] = _problems(422)[422]
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{}, {"token": []}]
    return document


def _rooms(app: FastAPI) -> _Rooms:
    rooms: _Rooms = app.state.rooms
    return rooms


async def _detect(request: Request, rooms: _Rooms, model: str | None, landmarks: bool, report: bool) -> Response:
    """A photo is judged at once; a video becomes a job, which its folder belongs to from then on."""
    chosen = rooms.catalogue.name(model)
    rooms.photos.require_room()
    if request.headers.get("content-type", "").startswith("video/"):
        rooms.jobs.require_room()
    folder: Path | None = rooms.store.make_folder()
    try:
        upload = await rooms.store.receive(request, folder)  # type: ignore[arg-type]
        wants_csv = "text/csv" in request.headers.get("accept", "")
        seen = await _unless_gone(request, _look(rooms, upload, chosen, wants_csv, landmarks))
        if seen["kind"] == "video":
            job = rooms.jobs.add(upload, seen, chosen, report and has_report())
            folder = None
            place = f"/v1/jobs/{job.id}"
            return JSONResponse(_job_document(rooms, job).model_dump(), 202, {"Location": place})
    finally:
        if folder is not None:
            rooms.store.remove(folder)
    if wants_csv:
        return Response(seen["csv"], media_type=RESULT_TYPES["csv"])
    return JSONResponse({"source": upload.name, "landmarks": None, **seen})


async def _look(rooms: _Rooms, upload: Upload, model: str, csv: bool, landmarks: bool) -> dict[str, Any]:
    settings = rooms.settings
    task = {
        "task": "look", "path": str(upload.path), "name": upload.name, "model": rooms.catalogue.place(model), "csv": csv,
        "landmarks": landmarks, "max_pixels": settings.max_pixels, "max_seconds": settings.max_seconds,
    }  # fmt: skip
    try:
        return await rooms.photos.run(task, settings.photo_seconds)
    except CrashedError:
        rooms.metrics.crashes.add()
        raise ProblemError(422, f"{upload.name}: a decoder crashed on this file") from None
    except OverdueError:
        rooms.metrics.crashes.add()
        raise ProblemError(
            504, f"{upload.name}: took longer than {settings.photo_seconds:g} seconds, so it was given up"
        ) from None


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, unless the client leaves while it is done.

    Raises:
        ClientDisconnect: it left; the work is over.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


def _job_document(rooms: _Rooms, job: Job) -> JobDocument:
    ended = job.state == "done"
    left = rooms.jobs.left(job)
    return JobDocument(
        id=job.id, source=job.upload.name, model=job.model, state=job.state, progress=job.progress, ahead=rooms.jobs.ahead_of(job),
        frames=job.frames, faces=job.faces, width=job.facts["width"], height=job.facts["height"], duration=job.facts["duration"],
        problem=job.problem or None, kept_for=None if left is None else round(left, 1),
        formats=[kind for kind in RESULT_TYPES if (job.folder / f"result.{kind}").is_file()] if ended else [],
        report=ended and (job.folder / "report.html").is_file(),
    )  # fmt: skip


def _ended(job: Job) -> Job:
    """The job, if it has results.

    Raises:
        ProblemError: 409.
    """
    if job.state == "failed":
        raise ProblemError(409, job.problem)
    if job.state != "done":
        raise ProblemError(409, f"{job.upload.name}: is not finished yet", {"Retry-After": "1"})
    return job


def _file(file: Path, media_type: str, name: str) -> FileResponse:
    """A file to save under a name, which may hold any character."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    return FileResponse(file, media_type=media_type, headers={"Content-Disposition": disposition})


async def _live(socket: WebSocket, rooms: _Rooms, model: str | None) -> None:
    try:
        name = rooms.catalogue.name(model)
        session = rooms.live.join(rooms.catalogue.place(name))
    except ProblemError as problem:
        await socket.send_denial_response(problem.response())
        return
    sending: asyncio.Task[None] | None = None
    try:
        await socket.accept()
        await socket.send_json({"type": "hello", "model": name, "idle_seconds": rooms.settings.live_idle_seconds})
        sending = asyncio.create_task(_send_answers(socket, rooms.live, session))
        await _take_frames(socket, rooms, session)
    except (WebSocketDisconnect, RuntimeError):  # Starlette's word for a socket that was closed meanwhile
        pass
    finally:
        rooms.live.leave(session)
        if sending is not None:
            sending.cancel()
            await asyncio.wait({sending})


async def _take_frames(socket: WebSocket, rooms: _Rooms, session: Session) -> None:
    """Take frames until the client leaves, says nothing for too long, or says something else."""
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), rooms.settings.live_idle_seconds)
        except TimeoutError:
            if not session.idle:
                continue
            await socket.close(1000, "idle")
            return
        if message["type"] == "websocket.disconnect":
            return
        try:
            rooms.live.put(session, message.get("bytes") or b"")
        except ProblemError as problem:
            await socket.close(1003, problem.detail)
            return


async def _send_answers(socket: WebSocket, live: Live, session: Session) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            answer = await session.answers.get()
            await socket.send_json(answer)
            live.answered(session)
