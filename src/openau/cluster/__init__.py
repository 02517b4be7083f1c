"""The job of `openau detect` over a Ray cluster, from and to any filesystem that fsspec knows."""

from openau.cluster.engine import Cluster, run_on_ray
from openau.cluster.ledger import Ledger
from openau.cluster.places import Place, expand_places

__all__ = ["Cluster", "Ledger", "Place", "expand_places", "run_on_ray"]
