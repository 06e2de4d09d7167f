"""Instance types: figures that AWS publishes, and every name that the service model knows."""

import botocore.session
import pytest

from modelyard.domain.instances import GIB, resources_of

WITHOUT_FIGURES = ("g7", "g7e", "p6-b300", "p6e-gb200")
"""Families that are newer than their published figures that we know."""


@pytest.mark.parametrize(
    ("name", "cpus", "gib", "accelerators"),
    [
        ("ml.t2.medium", 2, 4, 0),
        ("ml.t2.2xlarge", 8, 32, 0),
        ("ml.m5.large", 2, 8, 0),
        ("ml.m5.24xlarge", 96, 384, 0),
        ("ml.m4.10xlarge", 40, 160, 0),
        ("ml.c5.18xlarge", 72, 144, 0),
        ("ml.c4.large", 2, 3.75, 0),
        ("ml.c4.8xlarge", 36, 60, 0),
        ("ml.r5.2xlarge", 8, 64, 0),
        ("ml.m6i.32xlarge", 128, 512, 0),
        ("ml.c7i.48xlarge", 192, 384, 0),
        ("ml.m8g.medium", 1, 4, 0),
        ("ml.c6in.4xlarge", 16, 32, 0),
        ("ml.g4dn.12xlarge", 48, 192, 4),
        ("ml.g5.xlarge", 4, 16, 1),
        ("ml.g5.48xlarge", 192, 768, 8),
        ("ml.p2.16xlarge", 64, 732, 16),
        ("ml.p3.8xlarge", 32, 244, 4),
        ("ml.p4d.24xlarge", 96, 1152, 8),
        ("ml.inf1.24xlarge", 96, 192, 16),
        ("ml.inf2.48xlarge", 192, 768, 12),
        ("ml.trn2.48xlarge", 192, 2048, 16),
    ],
)
def test_figures_are_the_published_ones(
    name: str, cpus: int, gib: float, accelerators: int
) -> None:
    found = resources_of(name)
    assert found is not None
    assert (found.cpus, found.memory_bytes / GIB, found.accelerators) == (cpus, gib, accelerators)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "m5.large",
        "ml.m5",
        "ml.zz9.large",
        "ml.m5.huge",
        "ml.m5.²xlarge",
        "local",
        "ml.m5.xlarge.x",
    ],
)
def test_a_type_outside_the_rules_has_no_figures(name: str) -> None:
    assert resources_of(name) is None


def test_the_service_models_types_have_figures() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    for shape in ("ProductionVariantInstanceType", "TransformInstanceType"):
        for name in model.shape_for(shape).enum:
            if name.split(".")[1] not in WITHOUT_FIGURES:
                assert resources_of(name) is not None, name
