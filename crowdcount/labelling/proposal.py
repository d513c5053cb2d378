"""Points proposed for an image, which a person corrects."""

from typing import NamedTuple

from crowdcount.geometry import Points


class Proposal(NamedTuple):
    """Points of a model on an image.

    Attributes:
        image: name of the image file, in the folder that the annotation is written to.
        points: (N, 2) in pixels of the upright image.
        width: width in pixels.
        height: height in pixels.
        model: name of the model.
    """

    image: str
    points: Points
    width: int
    height: int
    model: str

    @property
    def decimals(self) -> list[tuple[float, float]]:
        """The points as the shortest decimals that read back as the same float32."""
        return [(float(str(x)), float(str(y))) for x, y in self.points]
