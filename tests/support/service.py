"""Services with a small counter, in this process: as an application, or listening at a port of this machine."""

import io
import threading
from contextlib import contextmanager
from dataclasses import replace

import PIL.Image

from crowdcount.intervals import Intervals, calibrate
from crowdcount.predictor import Predictor
from crowdcount.zoo.models import load_model
from tests.support.counter import noise_image, save_counter

TOKEN = "a token of the tests"


def tiny_predictor(folder, calibrated=False):
    """Return a predictor with the untrained counter, written to a new folder."""
    model = load_model(save_counter(folder)).density_model()
    if calibrated:
        counts = [float(number) for number in range(1, 31)]
        known = calibrate([1.1 * count for count in counts], counts)
        facts = {"protocol": model.protocol, "data": "d", "about": "noise", "fingerprint": "0" * 64}
        model = replace(model, intervals=Intervals("0" * 64, image=known, **facts))
    return Predictor(model, device="cpu")


def image_bytes(kind="PNG", height=60, width=90, seed=0, **options):
    """Return the bytes of a file with an image of noise."""
    file = io.BytesIO()
    PIL.Image.fromarray(noise_image(height, width, seed)).save(file, kind, **options)
    return file.getvalue()


@contextmanager
def listening(app):
    """Serve an application at a free port, and yield its address."""
    from crowdcount.service.server import Server, bind

    begun = threading.Event()
    with bind("127.0.0.1", 0) as listener:
        server = Server(app, begun.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        assert begun.wait(60)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()
