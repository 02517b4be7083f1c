"""`openau serve`: the page and the HTTP API, on this machine and for this machine unless told otherwise."""
