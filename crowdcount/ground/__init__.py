"""People per square metre: calibrated cameras, areas on the ground, the densest patch and levels of service."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.ground.calibrate import camera_of_horizon, camera_of_points, camera_of_tilt
    from crowdcount.ground.camera import Camera, GroundPoints, Settings
    from crowdcount.ground.file import read_camera
    from crowdcount.ground.levels import STANDING, WALKING, Levels
    from crowdcount.ground.measure import Ground, GroundDensity, GroundReading

__all__ = [
    "STANDING",
    "WALKING",
    "Camera",
    "Ground",
    "GroundDensity",
    "GroundPoints",
    "GroundReading",
    "Levels",
    "Settings",
    "camera_of_horizon",
    "camera_of_points",
    "camera_of_tilt",
    "read_camera",
]

__getattr__ = lazy_names(
    __name__,
    {
        "calibrate": ("camera_of_horizon", "camera_of_points", "camera_of_tilt"),
        "camera": ("Camera", "GroundPoints", "Settings"),
        "file": ("read_camera",),
        "levels": ("STANDING", "WALKING", "Levels"),
        "measure": ("Ground", "GroundDensity", "GroundReading"),
    },
)
