"""From the options of `mstedge export` to what shall be exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mstedge.engine_recipe import EngineRecipe
    from mstedge.export.wish import ExportWish


def wish_from_options(
    *,
    target: str,
    precision: str,
    golden: str,
    margin_points: float | None,
    calibration_rows: int,
    calibration_method: str,
    search_mixed: bool,
    allow_failure: bool,
    engine: Sequence[str],
) -> ExportWish:
    """Check what was typed.

    Raises:
        UsageError: A word is not known, or two options contradict each other; the message names the option.
    """
    from mstedge.errors import UsageError, nearest
    from mstedge.export.quantise.calibration import CalibrationWish
    from mstedge.export.wish import ExportWish
    from mstedge.limits import PRECISIONS
    from mstedge.manifest import TARGETS

    choices: dict[str, tuple[str, tuple[str, ...]]] = {
        "--target": (target, TARGETS),
        "--precision": (precision, PRECISIONS),
        "--golden": (golden, ("auto", "raw", "features")),
        "--calibration-method": (calibration_method, ("minmax", "entropy", "percentile")),
    }
    for option, (value, known) in choices.items():
        if value not in known:
            raise UsageError(f"{option} {value!r} is not known", hint=nearest(value, known))
    if engine and target != "trt":
        raise UsageError(f"--engine says how TensorRT builds, but the target is {target!r}", hint="add --target trt")
    return ExportWish(
        target=cast("Any", target),
        precision=cast("Any", precision),
        golden=cast("Any", golden),
        margin=None if margin_points is None else margin_points / 100.0,
        calibration=CalibrationWish(rows=calibration_rows, method=cast("Any", calibration_method)),
        search_mixed=search_mixed,
        allow_failure=allow_failure,
        engine=_engine_recipe(engine),
    )


def _engine_recipe(settings: Sequence[str]) -> EngineRecipe:
    from mstedge.engine_recipe import EngineRecipe
    from mstedge.errors import UsageError
    from mstedge.schema import convert

    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--engine {setting!r}: expected key=value", hint="for example --engine max_batch_rows=4")
        words: dict[str, Any] = {"true": True, "false": False}
        values[key.strip()] = words.get(value.strip().lower(), int(value) if value.strip().isdigit() else value.strip())
    return convert(values, EngineRecipe, source="--engine")
