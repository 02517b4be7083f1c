#!/bin/sh
# Make an environment with the face-alignment package, apart from OpenAU's own because it brings another OpenCV, and compare:
#     sh tests/support/face_alignment_env.sh /tmp/face-alignment
#     OPENAU_FACE_ALIGNMENT_PYTHON=/tmp/face-alignment/bin/python python -m pytest tests/models/test_fan_published.py
set -e
python3 -m venv "$1"
"$1/bin/python" -m pip install "face-alignment==1.5.0" numpy torch
"$1/bin/python" -c "import face_alignment.models.fan"
