"""Pictures, videos and cameras as upright RGB frames; what the user named on the command line as a list of sources."""

from openau.media.images import MAX_PIXELS, read_image
from openau.media.selection import WHOLE, Selection, seconds_of
from openau.media.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source, classify, expand
from openau.media.video import Camera, Frame, Stream, Video, hardware_decoders, open_camera, open_video

__all__ = [
    "IMAGE_SUFFIXES", "MAX_PIXELS", "VIDEO_SUFFIXES", "WHOLE", "Camera", "Frame", "Selection", "Source", "Stream", "Video", "classify",
    "expand", "hardware_decoders", "open_camera", "open_video", "read_image", "seconds_of",
]  # fmt: skip
