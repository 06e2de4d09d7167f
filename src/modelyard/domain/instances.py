"""What an instance type stands for: CPUs, memory and accelerators, by the rules of AWS's families.

Within a family memory grows with the CPUs, so a family needs one number, its GiB for each CPU, and a size its CPUs. The types
that break a rule are listed. Figures are AWS's published ones; where none are published for a type, it has none here, and its
processes run without limits. Serverless variants have no instance type: their memory is a member of their configuration.
"""

from dataclasses import dataclass

GIB = 1 << 30

_CPUS = {"medium": 1, "large": 2, "xlarge": 4}
"""CPUs by size; ``Nxlarge`` is 4 N."""

_GIB_PER_CPU = {
    "t2": 4.0, "t3": 4.0, "m4": 4.0, "m5": 4.0, "m5d": 4.0, "m6i": 4.0, "m6g": 4.0, "m6gd": 4.0, "m6id": 4.0,
    "m7i": 4.0, "m8g": 4.0, "c4": 1.875, "c5": 2.0, "c5d": 2.0, "c5n": 2.625, "c6i": 2.0, "c6id": 2.0, "c6in": 2.0,
    "c6g": 2.0, "c6gd": 2.0, "c6gn": 2.0, "c7g": 2.0, "c7i": 2.0, "c8g": 2.0, "r5": 8.0, "r5d": 8.0, "r6i": 8.0,
    "r6g": 8.0, "r6gd": 8.0, "r6id": 8.0, "r7gd": 8.0, "r7i": 8.0, "r8g": 8.0, "inf1": 2.0, "inf2": 4.0,
    "g4dn": 4.0, "g5": 4.0, "g6": 4.0, "g6e": 8.0, "p2": 15.25, "p3": 7.625, "trn1": 4.0,
}  # fmt: skip

_EXACT: dict[str, tuple[int, float]] = {
    "ml.t2.medium": (2, 4.0),
    "ml.t3.medium": (2, 4.0),
    "ml.c4.8xlarge": (36, 60.0),
    "ml.c5n.9xlarge": (36, 96.0),
    "ml.c5n.18xlarge": (72, 192.0),
    "ml.p2.16xlarge": (64, 732.0),
    "ml.p3dn.24xlarge": (96, 768.0),
    "ml.p4d.24xlarge": (96, 1152.0),
    "ml.p4de.24xlarge": (96, 1152.0),
    "ml.p5.4xlarge": (16, 256.0),
    "ml.p5.48xlarge": (192, 2048.0),
    "ml.p5e.48xlarge": (192, 2048.0),
    "ml.p5en.48xlarge": (192, 2048.0),
    "ml.p6-b200.48xlarge": (192, 2048.0),
    "ml.dl1.24xlarge": (96, 768.0),
    "ml.trn1n.32xlarge": (128, 512.0),
    "ml.trn2.48xlarge": (192, 2048.0),
}

_ACCELERATORS: dict[str, dict[str, int]] = {
    "g4dn": {"12xlarge": 4},
    "g5": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6e": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "p2": {"8xlarge": 8, "16xlarge": 16},
    "p3": {"8xlarge": 4, "16xlarge": 8},
    "p3dn": {"24xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
    "p6-b200": {"48xlarge": 8},
    "dl1": {"24xlarge": 8},
    "inf1": {"6xlarge": 4, "24xlarge": 16},
    "inf2": {"24xlarge": 6, "48xlarge": 12},
    "trn1": {"32xlarge": 16},
    "trn1n": {"32xlarge": 16},
    "trn2": {"48xlarge": 16},
}
"""Families that have accelerators, and the sizes that have more than one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceResources:
    """What a process on this instance type may use; ``accelerators`` are counted, not given."""

    cpus: int
    memory_bytes: int
    accelerators: int = 0


def resources_of(instance_type: str) -> InstanceResources | None:
    """None for a type outside the rules: its processes run without limits."""
    parts = instance_type.split(".")
    if len(parts) != 3 or parts[0] != "ml":
        return None
    _, family, size = parts
    if instance_type in _EXACT:
        cpus, gib = _EXACT[instance_type]
    else:
        counted = _cpus(size)
        if counted is None or family not in _GIB_PER_CPU:
            return None
        cpus, gib = counted, counted * _GIB_PER_CPU[family]
    accelerators = _ACCELERATORS[family].get(size, 1) if family in _ACCELERATORS else 0
    return InstanceResources(cpus=cpus, memory_bytes=int(gib * GIB), accelerators=accelerators)


def _cpus(size: str) -> int | None:
    if size in _CPUS:
        return _CPUS[size]
    multiple = size.removesuffix("xlarge")
    return 4 * int(multiple) if multiple != size and multiple.isdecimal() else None
