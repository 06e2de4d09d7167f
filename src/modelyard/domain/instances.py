"""What an instance type stands for: CPUs and memory, by the rules of AWS's families.

Within a family memory grows with the CPUs, so a family needs one number, its GiB for each CPU, and a size its CPUs. The few
types that break the rule are listed. Figures are AWS's published ones.
"""

from dataclasses import dataclass

GIB = 1 << 30

_CPUS = {"medium": 2, "large": 2, "xlarge": 4}
"""CPUs by size; ``Nxlarge`` is 4 N."""

_GIB_PER_CPU = {
    "t2": 4.0, "t3": 4.0, "m4": 4.0, "m5": 4.0, "m5d": 4.0, "m6i": 4.0, "m6g": 4.0, "m6gd": 4.0, "m6id": 4.0,
    "m7i": 4.0, "m8g": 4.0, "c4": 1.875, "c5": 2.0, "c5d": 2.0, "c5n": 2.625, "c6i": 2.0, "c6id": 2.0, "c6g": 2.0,
    "c6gd": 2.0, "c6gn": 2.0, "c7g": 2.0, "c7i": 2.0, "c8g": 2.0, "r5": 8.0, "r5d": 8.0, "r6i": 8.0, "r6g": 8.0,
    "r6gd": 8.0, "r6id": 8.0, "r7gd": 8.0, "r7i": 8.0, "r8g": 8.0, "inf1": 2.0, "inf2": 4.0, "g4dn": 4.0,
    "g5": 4.0, "g6": 4.0, "g6e": 8.0, "p2": 15.25, "p3": 7.625, "trn1": 4.0, "trn2": 10.67,
}  # fmt: skip

_EXACT: dict[str, tuple[int, float]] = {
    "ml.t2.medium": (2, 4.0),
    "ml.t2.large": (2, 8.0),
    "ml.t2.xlarge": (4, 16.0),
    "ml.t2.2xlarge": (8, 32.0),
    "ml.t3.medium": (2, 4.0),
    "ml.c4.large": (2, 3.75),
    "ml.p4d.24xlarge": (96, 1152.0),
    "ml.p4de.24xlarge": (96, 1152.0),
    "ml.p5.48xlarge": (192, 2048.0),
    "ml.p5e.48xlarge": (192, 2048.0),
    "ml.p5en.48xlarge": (192, 2048.0),
    "ml.g4dn.16xlarge": (64, 256.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceResources:
    """What a process on this instance type may use; accelerators are not modelled yet."""

    cpus: int
    memory_bytes: int


def resources_of(instance_type: str) -> InstanceResources | None:
    """None for a type outside the rules: its processes run without limits."""
    if instance_type in _EXACT:
        cpus, gib = _EXACT[instance_type]
        return InstanceResources(cpus=cpus, memory_bytes=int(gib * GIB))
    parts = instance_type.split(".")
    if len(parts) != 3 or parts[0] != "ml" or parts[1] not in _GIB_PER_CPU:
        return None
    count = _cpus(parts[2])
    if count is None:
        return None
    return InstanceResources(cpus=count, memory_bytes=int(count * _GIB_PER_CPU[parts[1]] * GIB))


def _cpus(size: str) -> int | None:
    if size in _CPUS:
        return _CPUS[size]
    multiple = size.removesuffix("xlarge")
    return 4 * int(multiple) if multiple != size and multiple.isdigit() else None
