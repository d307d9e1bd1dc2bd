"""One build routine for all versions: it asks for the same things and touches nothing that a version lacks."""

from __future__ import annotations

import pytest
from fake_tensorrt import (
    MEASURED,
    PLAN,
    PRECISION_FLAGS,
    FakeTensorRt,
    FakeTensorRt11,
    FakeTensorRt103,
    FakeTensorRtOfTomorrow,
)

from mstedge.engine_build import Gpu
from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import MachineError
from mstedge.manifest import Tensor
from mstedge.runtime.backends import Network
from mstedge.runtime.trt.builder import BuiltEngine, build_engine
from mstedge.runtime.trt.library import TensorRt
from mstedge.runtime.trt.timing_cache import STALE

GPU = Gpu(name="Orin", compute_capability="8.7")
NETWORK = Network(b"graph", Tensor(name="features", shape=(4,)), Tensor(name="logits", shape=(3,)), "fp32")
RECIPE = EngineRecipe(best_batch_rows=2, workspace_bytes=5 << 20, optimisation_level=4, version_compatible=True)


def built(fake: FakeTensorRt, recipe: EngineRecipe = RECIPE, timing_cache: bytes = b"") -> BuiltEngine:
    library = TensorRt(name="tensorrt", version=fake.__version__, module=fake, gpu=GPU)
    return build_engine(library, NETWORK, recipe, timing_cache=timing_cache)


@pytest.mark.parametrize("version", [FakeTensorRt103, FakeTensorRt11])
class TestKnownVersions:
    def test_same_wishes(self, version: type[FakeTensorRt]) -> None:
        fake = version()
        engine = built(fake)
        assert engine.plan == PLAN
        assert engine.notes == ()
        assert fake.values_of("network flags") == [1 << int(fake.NetworkDefinitionCreationFlag.STRONGLY_TYPED)]
        assert fake.values_of("parse") == [b"graph"]
        assert fake.values_of("pool") == [("WORKSPACE", 5 << 20)]
        assert fake.values_of("level") == [4]
        assert fake.values_of("profile") == [{"features": ((1, 4), (2, 4), (8, 4))}]
        assert fake.values_of("clear") == ["TF32"]
        assert fake.values_of("set") == ["VERSION_COMPATIBLE"]
        assert fake.values_of("build") == ["DETAILED"]

    def test_no_flag_is_set_that_nobody_asked_for(self, version: type[FakeTensorRt]) -> None:
        fake = version()
        built(fake, EngineRecipe())
        assert fake.values_of("set") == []

    def test_timing_cache_goes_in_and_comes_out(self, version: type[FakeTensorRt]) -> None:
        fake = version()
        assert built(fake, timing_cache=MEASURED).timing_cache == MEASURED
        assert fake.values_of("timing cache") == [MEASURED]

    def test_timing_cache_lives_until_the_engine_is_built(self, version: type[FakeTensorRt]) -> None:
        fake = version()
        built(fake)
        steps = [entry[0] for entry in fake.asked]
        assert steps.index("build") < steps.index("timing cache gone")

    def test_timing_cache_of_another_device_is_not_used(self, version: type[FakeTensorRt]) -> None:
        fake = version()
        assert built(fake, timing_cache=b"of another GPU").notes == (STALE,)
        assert fake.values_of("timing cache") == [b"of another GPU", b""]

    def test_timing_cache_that_is_not_wanted(self, version: type[FakeTensorRt]) -> None:
        fake = version()
        assert built(fake, EngineRecipe(timing_cache=False)).timing_cache == b""
        assert fake.values_of("timing cache") == []

    def test_reason_of_a_failed_build_is_the_loggers(self, version: type[FakeTensorRt]) -> None:
        with pytest.raises(MachineError, match=r"TensorRT 1\d\.\S+ cannot build the engine here: \[.*\] out of memory"):
            built(version(plan=None))


def test_what_a_version_has_lost_is_not_missed() -> None:
    fake = FakeTensorRtOfTomorrow()
    engine = built(fake)
    assert fake.values_of("network flags") == [0]
    assert fake.values_of("set") == fake.values_of("clear") == fake.values_of("level") == []
    assert engine.notes == (
        "TensorRT 12.0.0 has no optimisation level: 4 was not set",
        "TensorRT 12.0.0 builds for its own version only: not version compatible",
    )
    assert engine.timing_cache == b""


def test_fakes_lack_what_their_version_lacks() -> None:
    assert all(hasattr(FakeTensorRt103().BuilderFlag, name) for name in PRECISION_FLAGS)
    assert not any(hasattr(FakeTensorRt11().BuilderFlag, name) for name in PRECISION_FLAGS)
    assert hasattr(FakeTensorRt103().NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
    assert not hasattr(FakeTensorRt11().NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
