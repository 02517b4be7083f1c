"""Looking inside a trained FAN-Trans: which AU listens to which, which AU's features decide about which, where on the face each AU looks.

`faces` which faces of a feature store · `links` between AUs · `relevance` of places on the face · `grounds` the faces that figures are
drawn on, a photo's among them · `verdicts` on it · `figures` · `files` the numbers. `openau explain` writes all of it.
"""
