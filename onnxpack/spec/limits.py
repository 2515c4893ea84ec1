"""The gates that apply to a target, and the fields that a target does not use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from onnxpack.core.errors import Location
from onnxpack.spec.delivery import Gates
from onnxpack.spec.model import Spec
from onnxpack.spec.traits import list_calibrated_precisions


@dataclass(frozen=True)
class EffectiveGates:
    """The limits of one target, with the place of each in the spec."""

    limits: Gates
    places: Mapping[str, Location]
    """The places of the limits that are set, by name."""
    target: Location
    """The place of the target itself, for problems that belong to no limit."""

    def where(self, name: str) -> Location:
        """Return the place of a limit, or of the target where that limit is not set."""
        return self.places.get(name, self.target)


def effective_gates(spec: Spec, target: str, where: Callable[..., Location]) -> EffectiveGates:
    """Merge a target's own gates over the common ones, field by field; ``where`` gives the place of a field."""
    common = _set(spec.gates)
    own = _set(spec.targets[target].gates)
    places = {name: where("gates", name) for name in common}
    places |= {name: where("targets", target, "gates", name) for name in own}
    return EffectiveGates(Gates(**(common | own)), places, where("targets", target))


def _set(gates: Gates | None) -> dict[str, Any]:
    found = {field.name: getattr(gates, field.name) for field in fields(gates)} if gates else {}
    return {name: value for name, value in found.items() if value is not None}


def list_unused(spec: Spec, target: str, where: Callable[..., Location]) -> tuple[str, ...]:
    """List what the spec gives and a target does not use: notes for a person, which fail no build."""
    precision = spec.targets[target].precision
    if spec.calibration is None or precision in list_calibrated_precisions():
        return ()
    users = " and ".join(list_calibrated_precisions())
    place = where("calibration")
    return (f"{place}: target '{target}' does not use the calibration data: it is for {users}, not {precision}",)
