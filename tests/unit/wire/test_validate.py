"""AWS's validation texts, all faults of a request at once."""

from typing import Any

import pytest

from modelyard.base.errors import ServiceError
from modelyard.wire.models import load_service
from modelyard.wire.validate import validate


def _message(operation: str, value: dict[str, Any]) -> str:
    shape = load_service("sagemaker").operation_model(operation).input_shape
    with pytest.raises(ServiceError) as refused:
        validate(shape, value, code="ValidationException")
    assert refused.value.code == "ValidationException"
    return refused.value.message


def test_a_missing_member() -> None:
    assert _message("DescribeEndpoint", {}) == (
        "1 validation error detected: Value null at 'endpointName' failed to satisfy constraint: Member must not be null"
    )


def test_a_text_that_is_too_long() -> None:
    name = "a" * 64
    assert _message("DescribeEndpoint", {"EndpointName": name}) == (
        f"1 validation error detected: Value '{name}' at 'endpointName' failed to satisfy constraint: "
        "Member must have length less than or equal to 63"
    )


def test_a_text_of_another_pattern_names_the_pattern() -> None:
    message = _message("DescribeEndpoint", {"EndpointName": "under_score"})
    assert "Value 'under_score' at 'endpointName' failed to satisfy constraint" in message
    assert "Member must satisfy regular expression pattern: " in message


def test_members_of_lists_are_counted_from_one() -> None:
    message = _message(
        "CreateEndpointConfig",
        {
            "EndpointConfigName": "c",
            "ProductionVariants": [
                {"VariantName": "good"},
                {"VariantName": "v", "InitialInstanceCount": 0, "InstanceType": "ml.toaster"},
            ],
        },
    )
    assert message.startswith("2 validation errors detected: ")
    assert (
        "Value '0' at 'productionVariants.2.member.initialInstanceCount' failed to satisfy constraint: "
        "Member must have value greater than or equal to 1"
    ) in message
    assert (
        "'productionVariants.2.member.instanceType' failed to satisfy constraint: Member must satisfy enum value set: ["
        in message
    )


def test_the_number_of_faults_that_are_listed_has_a_limit() -> None:
    tags = [{"Key": "", "Value": "v"}] * 200
    message = _message("AddTags", {"ResourceArn": "arn:aws:x", "Tags": tags})
    assert message.startswith("50 validation errors detected")


def test_a_long_text_meets_no_slow_pattern() -> None:
    message = _message("DescribeEndpoint", {"EndpointName": "a-" * 1_000_000})
    assert "less than or equal to 63" in message
    assert len(message) < 3000


def test_javas_class_of_printable_characters_is_understood() -> None:
    shape = load_service("application-autoscaling").operation_model("PutScalingPolicy").input_shape
    request = {
        "PolicyName": "load of the day",
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/churn/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    validate(shape, request, code="ValidationException")
    with pytest.raises(ServiceError, match="policyName"):
        validate(shape, {**request, "PolicyName": "a\tb"}, code="ValidationException")
