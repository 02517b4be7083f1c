"""Pictures, videos and cameras as upright RGB frames; what the user named on the command line as a list of sources."""

from openau.media.images import MAX_PIXELS, read_image
from openau.media.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source, classify, expand
from openau.media.video import Camera, Frame, Stream, Video, open_camera, open_video

__all__ = [
    "IMAGE_SUFFIXES", "MAX_PIXELS", "VIDEO_SUFFIXES", "Camera", "Frame", "Source", "Stream", "Video", "classify", "expand",
    "open_camera", "open_video", "read_image",
]  # fmt: skip
