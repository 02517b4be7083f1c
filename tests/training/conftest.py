import pytest
from feature_stores import make_store

from openau.training.features import FeatureStore


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("features") / "store")
