"""The clip of `openau demo`, rendered by this project's own `openau.synth`: nobody's face."""

from pathlib import Path

CLIP = Path(__file__).parent / "demo.mp4"
