"""Videos of a moving dot, made with PyAV, and what of a frame tells which it is."""

from fractions import Fraction

import av
import cv2
import numpy as np

FRAMES, FPS, WIDTH, HEIGHT = 50, 25, 160, 120
CODECS = {".mp4": "mpeg4", ".mov": "mpeg4", ".avi": "mjpeg", ".mkv": "mjpeg", ".mpg": "mpeg1video"}


def frame_image(index):
    """Return a red dot that moves three pixels to the right in every frame, over noise that keeps files large."""
    shown = np.full((HEIGHT, WIDTH, 3), 210, np.uint8)
    shown[:30] = np.random.default_rng(index).integers(0, 255, (30, WIDTH, 3))
    return cv2.circle(shown, (5 + 3 * index, 75), 6, (220, 20, 20), -1)


def place(shown):
    """Return which frame an image of a dot is."""
    red = (shown[40:, :, 0] > 150) & (shown[40:, :, 1] < 110)
    return round((np.flatnonzero(red.any(axis=0)).mean() - 5) / 3)


def write_video(path, images, codec, fps=FPS, *, times=None, sound=0.0, container=None, **options):
    """Encode images; `times` are in frames where they are not equally far apart, `sound` is a track's seconds."""
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, fps, options={name: str(value) for name, value in options.items()})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = file.add_stream("aac", 48000) if sound else None
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = times[index] if times else index, 1 / Fraction(fps)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        for start in range(0, round(sound * 48000), 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
            silence.sample_rate, silence.pts = 48000, start
            file.mux(audio.encode(silence))
        if audio:
            file.mux(audio.encode())
    return path


def index_first(path):
    """Write an MP4 with its index before its frames, so that a cut one can be opened."""
    return {"movflags": "+faststart"} if str(path).endswith((".mp4", ".mov")) else {}


def packets(path):
    """Return where in the file each packet of its video is: the first byte and the size."""
    with av.open(str(path)) as file:
        return [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]


def with_zeros(path, target, packet, share=0.5):
    """Copy a video, with zeros in place of the last part of one of its packets, and a byte that ends it."""
    start, size = packets(path)[packet]
    data, first = bytearray(path.read_bytes()), start + size - round(size * share)
    data[first : start + size - 1] = bytes(start + size - 1 - first)
    target.write_bytes(data)
    return target
