"""Zones: where the next worker of a replica belongs, and which replica moves when they lie unevenly. Pure.

A zone is a label: of one host and the workers that it started. Replicas of a variant are spread so that the loss of one zone
costs as few of them as can be; all containers of a replica stay together. A zone whose host does not answer takes no new
workers; those that it has go on serving.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

Homes = dict[tuple[str, int], str]
"""Zone of each replica that runs, by variant and number."""


def choose_zone(
    place: tuple[str, int], zones: Sequence[str], homes: Homes, load: Mapping[str, int]
) -> str:
    """Where a worker of the replica ``place`` starts: with its siblings, else where the fewest are.

    The fewest replicas of its variant, then of the fleet, then the least ``load`` (workers of everybody), then by name.
    ``zones`` are those that can start workers; the choice is entered in ``homes``.
    """
    home = homes.get(place, "")
    if home in zones:
        return home
    of_variant = Counter(zone for (variant, _), zone in homes.items() if variant == place[0])
    of_fleet = Counter(homes.values())
    chosen = min(
        zones, key=lambda zone: (of_variant[zone], of_fleet[zone], load.get(zone, 0), zone)
    )
    homes[place] = chosen
    return chosen


def unevenness(zones: Sequence[str], homes: Homes) -> tuple[tuple[str, int], str] | None:
    """A replica that should move, and where to; None where no variant has two more in one zone than in another."""
    for variant in sorted({variant for variant, _ in homes}):
        counts = Counter(zone for (name, _), zone in homes.items() if name == variant)
        fullest = max(sorted(counts), key=lambda zone: counts[zone])
        emptiest = min(zones, key=lambda zone: (counts[zone], zone), default=fullest)
        if counts[fullest] - counts[emptiest] > 1:
            number = max(
                replica
                for (name, replica), zone in homes.items()
                if name == variant and zone == fullest
            )
            return (variant, number), emptiest
    return None
