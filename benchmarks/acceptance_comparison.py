"""What `gpu_acceptance.py` makes of its measurements: extrapolation, ratios, targets, and a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Li et al., arXiv 2507.07015: what a whole run of theirs takes, most likely of AV-MNIST.
PUBLISHED = {"seconds": 1942.0, "bytes": 53.6e9}
TARGETS = {"seconds": 20.0, "bytes": 6e9}  # on an H100; bytes are those that torch's allocator reserves
SIDES = ("product", "product_faster")


def compared(result: dict[str, Any], *, steps: int, epochs: dict[str, int], judged: bool) -> dict[str, Any]:
    """Extrapolate the oracle, and set the product beside it, the published figures and the targets.

    Args:
        result: Product and oracle of a case as measured; either may have come to nothing.
        steps: Of one epoch.
        epochs: Of each stage.
        judged: Whether targets and published figures are for what was measured.
    """
    found: dict[str, Any] = {}
    oracle = result["oracle"]
    if all("seconds_per_batch" in each for each in oracle.values()):
        seconds = sum(oracle[stage]["seconds_per_batch"] * steps * count for stage, count in epochs.items())
        reserved = max(each["memory"]["reserved_bytes"] for each in oracle.values())
        found["oracle_extrapolated"] = {"seconds": round(seconds, 2), "bytes": reserved}
    for side in SIDES:
        if "together" in result[side]:
            found[f"{side}_against"] = _against(
                result[side]["together"], found.get("oracle_extrapolated"), judged=judged
            )
    return found


def _against(together: dict[str, Any], oracle: dict[str, float] | None, *, judged: bool) -> dict[str, Any]:
    spent = {"seconds": together["seconds"], "bytes": together["reserved_bytes"]}
    found: dict[str, Any] = {}
    if oracle is not None:
        found["oracle"] = _times(oracle, spent)
    if judged:
        found["published"] = _times(PUBLISHED, spent)
        found["targets_met"] = {key: value < TARGETS[key] for key, value in spent.items()}
    return found


def _times(others: dict[str, float], spent: dict[str, float]) -> dict[str, float]:
    return {key: round(others[key] / value, 2) for key, value in spent.items()}


def all_met(cases: dict[str, dict[str, Any]]) -> bool:
    """Say whether the product was measured in every case, and met every target that it was held against."""
    found = [each.get("product_against") for each in cases.values()]
    return all(each is not None and all(each.get("targets_met", {}).values()) for each in found)


def lines_for_people(cases: dict[str, dict[str, Any]], options: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Lay everything out."""
    for name, case in cases.items():
        yield f"{name}, B = {case['batch_rows']}, {case['rows']['train']} rows"
        for side in SIDES:
            yield from _product_lines(side, case[side])
            for other, ratios in case.get(f"{side}_against", {}).items():
                yield f"  {side} against {other}: " + ", ".join(f"{key} {value}" for key, value in ratios.items())
        for stage, each in case["oracle"].items():
            yield f"  oracle {stage:<32}{brief(each)}"
        if "oracle_extrapolated" in case:
            yield f"  {'oracle, all epochs':<39}{_amounts(*case['oracle_extrapolated'].values())}"
    for name, rounds in options.items():
        yield f"option {name:<20}{'; '.join(brief(each) for each in rounds)}"


def _product_lines(side: str, result: dict[str, Any]) -> Iterator[str]:
    if "together" not in result:
        yield f"  {side}: {brief(result)}"
        return
    for name, lap in {**result["laps"], "together": result["together"]}.items():
        yield f"  {side + ' ' + name:<46}{_amounts(lap['seconds'], lap['reserved_bytes'])}"


def brief(result: dict[str, Any]) -> str:
    """Say in a few words what a measurement gave."""
    if "together" in result:
        return _amounts(result["together"]["seconds"], result["together"]["reserved_bytes"])
    if "seconds_per_batch" in result:
        return f"a batch: {_amounts(result['seconds_per_batch'], result['memory']['reserved_bytes'])}"
    if "epoch_seconds" in result:
        return f"{result['epoch_seconds']:.4f} s an epoch, accuracy {result['validation_accuracy']:.4f}"
    return ", ".join(f"{key}: {value}" for key, value in result.items())


def _amounts(seconds: float, size_bytes: float) -> str:
    return f"{seconds:10.4f} s {size_bytes / 1e9:8.3f} GB"
