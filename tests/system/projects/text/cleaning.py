"""A module of the project's own, which needs what requirements.txt brings."""

from shouting import LOUD, SEEN

print("its installation saw", SEEN)


def clean(lines):
    return [line.lower().replace(LOUD, "") for line in lines]
