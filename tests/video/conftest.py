import pytest

from tests.support.video import CODECS, FRAMES, frame_image, index_first, write_video


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """A function that returns a film of a moving dot with the given suffix; read only."""
    folder = tmp_path_factory.mktemp("films")

    def film(suffix, codec=None, **options):
        codec = codec or CODECS[suffix]
        path = folder / f"{'_'.join([codec, *(f'{name}={value}' for name, value in options.items())])}{suffix}"
        if not path.exists():
            images = [frame_image(index) for index in range(FRAMES)]
            write_video(path, images, codec, container=index_first(path), b="4M", **options)
        return path

    return film
