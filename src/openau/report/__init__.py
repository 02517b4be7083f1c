"""Reports: one HTML file that holds everything and asks for nothing, and pictures of `Faces` in a notebook.

>>> from openau.interop import read_faces
>>> write_report(read_faces("clip.csv"), "report.html")   # doctest: +SKIP

The timeline is drawn by uPlot 1.6.32, which lies in `files/` with its licence (MIT). It was compared with Plotly's smallest bundle
(plotly.js-basic-dist-min 4.1.1):

- Size: 51 kB for 1.19 MB; the page of a short clip is mostly its plots' library otherwise.
- Speed: uPlot is made for time series and draws a hundred thousand points without a pause, several rows of them at every zoom step.
- Maintenance: both are released regularly and widely used (uPlot draws Grafana's panels); uPlot has no dependencies.
- Zoom by keyboard and touch: neither has all of it (Plotly has touch). `report.js` does both for all rows at once, so uPlot only draws.

Everything on the page that is not a curve is HTML and SVG made here, so that it prints, scales and can be read out.
"""

from openau.report.page import render, write_report
from openau.report.provenance import Provenance, provenance_of

__all__ = ["Provenance", "provenance_of", "render", "write_report"]
