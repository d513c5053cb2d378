"""The service: an ASGI application that counts in uploads, measures itself and shows its page."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from crowdcount import __version__
from crowdcount.errors import InputError
from crowdcount.ground.measure import Ground
from crowdcount.live.readings import Readings
from crowdcount.predictor import Predictor
from crowdcount.service.answers import CountAnswer, Error, Information, OutlineAnswer, outline_answers
from crowdcount.service.cameras import Cameras
from crowdcount.service.counting import count_image, read_upload, zones_of
from crowdcount.service.guard import Guard, refusal
from crowdcount.service.history import History, read_history
from crowdcount.service.limits import Memory, RateLimit, Refused, client_key
from crowdcount.service.metrics import Metrics
from crowdcount.service.settings import Settings
from crowdcount.service.upload import Upload, receive_upload, receive_zones
from crowdcount.service.worker import Worker

PAGE: Final = Path(__file__).parent / "page"
"""Folder of the page's files."""

_CAMERAS: Final = 4
"""Requests for cameras that are answered at the same time; each holds a frame."""

_WRONG_TOKENS: Final = 10
"""Wrong tokens that a client may send per minute."""

_UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "zones": {"type": "string", "description": "Zones as JSON or GeoJSON in pixels; text or file."},
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_ZONES: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Error} for status in (400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 502, 503)
}


class Service:
    """State that the requests share, and the functions that answer them.

    Args:
        predictor: what counts.
        settings: of the service.
        cameras: cameras to count in.
        readings: of watched streams; None for none.
        grounds: that cameras see, by their names.
    """

    def __init__(
        self,
        predictor: Predictor,
        settings: Settings,
        cameras: Cameras,
        readings: Readings | None = None,
        grounds: Mapping[str, Ground] | None = None,
    ) -> None:
        self.predictor, self.settings, self.metrics = predictor, settings, Metrics()
        self.cameras, self.readings, self.grounds = cameras, readings, dict(grounds or {})
        self.opening = asyncio.Semaphore(_CAMERAS)
        self.worker = Worker(settings.workers, settings.queue, self.metrics)
        self.memory = Memory(max(settings.upload_memory, settings.max_bytes))
        self.rate, self.wrong = RateLimit(settings.rate), RateLimit(_WRONG_TOKENS)

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Drop what waits when the service ends."""
        yield
        self.worker.close()

    def admit(
        self,
        request: Request,
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    ) -> None:
        """Check the token of a request.

        Raises:
            Refused: it is wrong, or the client has sent too many wrong ones.
        """
        token = self.settings.token
        if token is None:
            return
        sent = given.credentials if given else ""
        if hmac.compare_digest(sent.encode(), token.encode()):
            return
        if given is not None:
            self.wrong.take(_client(request))
        raise Refused(401, "token", "this token is wrong" if given else "this service asks for a token")

    async def count(
        self,
        request: Request,
        points: bool = False,
        density: bool = False,
        ground: str | None = None,
        accept: Annotated[str, Header(include_in_schema=False)] = "",
    ) -> Response:
        """Count the people in an image, and in zones of it.

        Send a multipart form with the file `image` and, if wanted, `zones`; or the bytes of the image alone, with
        `?zones=`. `?ground=NAME` says that it is an image of a camera whose ground is known, and adds people per square
        metre. With `Accept: image/png` the answer is a drawing; the header `Crowdcount-Count` has the count then.
        """
        self.rate.take(_client(request))
        if ground is not None and ground not in self.grounds:
            raise Refused(404, "camera", "this service knows the ground of no camera of this name")
        async with receive_upload(request, self.settings, self.memory) as upload:
            self.metrics.uploaded.inc(len(upload.data))
            drawing = "image/png" in accept
            job = partial(self._answer, upload, drawing, points, density, ground)
            return await self.worker.run(job, self.settings.count_seconds, partial(_left, request))

    def _answer(self, upload: Upload, drawing: bool, points: bool, density: bool, camera: str | None) -> Response:
        """Count and encode, in a thread of the worker."""
        image = read_upload(upload, self.settings)
        ground = None if camera is None else self.grounds[camera]
        counted = count_image(self.predictor, image, upload.name, upload.zones, self.settings.level, ground)
        self.metrics.people.observe(counted.answer.count)
        if drawing:
            headers = {"Crowdcount-Count": f"{counted.answer.count:.3f}"}
            return Response(counted.png(), media_type="image/png", headers=headers)
        return Response(counted.json(points, density), media_type="application/json")

    async def count_camera(
        self, request: Request, name: str, density: bool = False, frame: bool = False, zones: str | None = None
    ) -> Response:
        """Count the people that a camera shows now, and in zones; `?frame=true` adds the image itself."""
        self.rate.take(_client(request))
        self.cameras.check(name)

        async with self.opening:  # a camera that is off must not keep the threads that count from others
            image = await asyncio.to_thread(self.cameras.frame, name)

            def answer() -> Response:
                ground = self.grounds.get(name)
                counted = count_image(self.predictor, image, name, zones, self.settings.level, ground)
                return Response(counted.json(density=density, frame=frame), media_type="application/json")

            return await self.worker.run(answer, self.settings.count_seconds, partial(_left, request))

    async def zones(
        self, request: Request, width: Annotated[int, Query(gt=0)], height: Annotated[int, Query(gt=0)]
    ) -> list[OutlineAnswer]:
        """Read zones, in any form of `zones` of POST /count, and check that they fit images of this size."""
        self.rate.take(_client(request))
        text = await receive_zones(request, self.settings, self.memory)
        return await asyncio.to_thread(lambda: outline_answers(zones_of(text, height, width)))

    def history(
        self, request: Request, source: str | None = None, hours: Annotated[float, Query(gt=0, le=8784)] = 24
    ) -> History:
        """Return the readings of a watched stream over the last hours, in some hundred points."""
        self.rate.take(_client(request))
        if self.readings is None:
            raise Refused(404, "readings", "this service has no readings; give it those of crowdcount watch")
        return read_history(self.readings, source, hours)

    async def measurements(self) -> Response:
        """Return measurements in Prometheus' text format."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def information(self) -> Information:
        """Return what the service counts with, and its limits."""
        model = self.predictor.model
        return Information(
            model=model.label,
            version=__version__,
            level=None if model.intervals is None else self.settings.level,
            max_bytes=self.settings.max_bytes,
            max_pixels=self.settings.max_pixels,
            cameras=self.cameras.names,
            grounds=list(self.grounds),
            readings=self.readings is not None,
        )


async def health() -> dict[str, str]:
    """Return that the model is loaded and the service answers; no token is needed."""
    return {"status": "ok"}


def create_app(
    predictor: Predictor,
    settings: Settings | None = None,
    cameras: Cameras | None = None,
    readings: Readings | None = None,
    grounds: Mapping[str, Ground] | None = None,
) -> Guard:
    """Return the service as an ASGI application.

    Args:
        predictor: what counts; a density model.
        settings: limits and token; None for the defaults.
        cameras: cameras to count in; None for none.
        readings: of watched streams, to be shown; None for none.
        grounds: that cameras see, by their names; None for none.

    Raises:
        InputError: the model needs expressions.
    """
    predictor.model.density_model()
    service = Service(predictor, settings or Settings(), cameras or Cameras(()), readings, grounds)
    app = FastAPI(
        title="crowdcount", version=__version__, lifespan=service.lifespan, docs_url=None, redoc_url=None
    )  # FastAPI's own pages load scripts from elsewhere
    for kind in (Refused, InputError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, partial(_refuse, service.metrics))
    app.get("/health", summary="Health")(health)
    api = APIRouter(dependencies=[Depends(service.admit)], responses=_REFUSALS)
    api.post("/count", response_model=CountAnswer, summary="Count", openapi_extra=_UPLOAD)(service.count)
    api.post("/cameras/{name}/count", response_model=CountAnswer, summary="Count in a camera")(service.count_camera)
    api.post("/zones", summary="Read zones", openapi_extra=_ZONES)(service.zones)
    api.get("/readings", summary="Readings over time")(service.history)
    api.get("/info", summary="Model and limits")(service.information)
    api.get("/metrics", summary="Measurements", response_class=Response)(service.measurements)
    app.include_router(api)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return Guard(app, service.settings, service.metrics)


async def _refuse(metrics: Metrics, _request: Request, error: Exception) -> Response:
    """Return an answer that says what is wrong."""
    if isinstance(error, Refused):
        return refusal(error, metrics)
    if isinstance(error, InputError):
        return refusal(Refused(422, "image", str(error)), metrics)
    if isinstance(error, RequestValidationError):
        places = ", ".join(str(each["loc"][-1]) for each in error.errors())
        return refusal(Refused(422, "query", f"the query is not valid: {places}"), metrics)
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def _left(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)


def _client(request: Request) -> str:
    return client_key(request.client.host if request.client else None)
