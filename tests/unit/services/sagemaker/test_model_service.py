from typing import Any

import pytest

from modelyard.base.errors import ServiceError, Unsupported, ValidationError
from modelyard.store.resources import Create, Key

pytestmark = pytest.mark.anyio
ARN = "arn:aws:sagemaker:us-east-1:123456789012:model/churn"
ROLE = "arn:aws:iam::123456789012:role/team/runner"


async def test_a_model_is_shown_as_it_was_given_with_aws_defaults(sagemaker: Any) -> None:
    created = await sagemaker(
        "CreateModel",
        ModelName="Churn",
        PrimaryContainer={"Image": "i", "ModelDataUrl": "s3://b/k", "Environment": {"A": "1"}},
        ExecutionRoleArn=ROLE,
        Tags=[{"Key": "team", "Value": "ml"}],
    )
    assert created == {"ModelArn": ARN}

    shown = await sagemaker("DescribeModel", ModelName="Churn")
    assert shown == {
        "ModelName": "Churn",
        "ModelArn": ARN,
        "PrimaryContainer": {
            "Image": "i",
            "ModelDataUrl": "s3://b/k",
            "Environment": {"A": "1"},
            "Mode": "SingleModel",
        },
        "ExecutionRoleArn": ROLE,
        "CreationTime": 1000.0,
        "EnableNetworkIsolation": False,
    }


async def test_a_second_model_of_the_name_is_refused(sagemaker: Any) -> None:
    await sagemaker.model()
    with pytest.raises(ValidationError) as caught:
        await sagemaker.model()
    assert caught.value.message == f'Cannot create already existing model "{ARN}".'


async def test_a_missing_model_is_a_validation_exception(sagemaker: Any) -> None:
    for operation in ("DescribeModel", "DeleteModel"):
        with pytest.raises(ValidationError) as caught:
            await sagemaker(operation, ModelName="Churn")
        assert caught.value.code == "ValidationException"
        assert caught.value.message == f'Could not find model "{ARN}".'


async def test_a_deleted_model_is_gone_and_its_name_free(sagemaker: Any) -> None:
    await sagemaker.model()
    await sagemaker("DeleteModel", ModelName="churn")
    await sagemaker.model()


async def test_models_belong_to_an_account_and_region(sagemaker: Any) -> None:
    await sagemaker.model()
    with pytest.raises(ValidationError):
        await sagemaker("DescribeModel", ModelName="churn", region="eu-west-1")
    assert await sagemaker("ListModels", account="999999999999") == {"Models": []}


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"Containers": []},
        {"PrimaryContainer": {"Image": "i"}, "Containers": [{"Image": "i"}]},
        {"PrimaryContainer": {"ModelDataUrl": "s3://b/k"}},
        {"Containers": [{"Image": "i", "ContainerHostname": "a"}] * 2},
        {
            "PrimaryContainer": {
                "Image": "i",
                "ModelDataUrl": "s3://b/k",
                "ModelDataSource": {
                    "S3DataSource": {
                        "S3Uri": "s3://b/k",
                        "S3DataType": "S3Object",
                        "CompressionType": "Gzip",
                    }
                },
            }
        },
        {"PrimaryContainer": {"Image": "i", "Environment": {"A": "ü" * 600}}},
        {
            "PrimaryContainer": {
                "Image": "i",
                "Environment": {f"A{n}": "x" * 1000 for n in range(33)},
            }
        },
    ],
)
async def test_containers_that_break_a_rule_are_refused(
    sagemaker: Any, members: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        await sagemaker("CreateModel", ModelName="churn", **members)


@pytest.mark.parametrize(("uri", "is_valid"), [("s3://b/k", True), ("s3://b/k/", False)])
async def test_a_source_object_has_no_slash_at_its_end(
    sagemaker: Any, uri: str, is_valid: bool
) -> None:
    source = {"S3Uri": uri, "S3DataType": "S3Object", "CompressionType": "Gzip"}
    create = sagemaker(
        "CreateModel",
        ModelName="churn",
        PrimaryContainer={"Image": "i", "ModelDataSource": {"S3DataSource": source}},
    )
    if is_valid:
        await create
    else:
        with pytest.raises(ValidationError):
            await create


@pytest.mark.parametrize(
    ("container", "named"),
    [
        ({"ModelPackageName": "p"}, "PrimaryContainer.ModelPackageName"),
        ({"ModelDataUrl": "https://host/model.tar.gz"}, "PrimaryContainer.ModelDataUrl"),
        ({"ImageConfig": {"RepositoryAccessMode": "Vpc"}}, "ImageConfig.RepositoryAccessMode Vpc"),
    ],
)
async def test_what_is_not_executed_is_refused_by_name(
    sagemaker: Any, container: dict[str, Any], named: str
) -> None:
    with pytest.raises(Unsupported, match=named) as caught:
        await sagemaker.model(**container)
    assert caught.value.status == 501


@pytest.mark.parametrize(
    "members",
    [
        {"VpcConfig": {"SecurityGroupIds": ["sg"], "Subnets": ["s"]}},
    ],
)
async def test_modes_of_a_model_that_are_not_executed_are_refused(
    sagemaker: Any, members: dict[str, Any]
) -> None:
    with pytest.raises(Unsupported, match=next(iter(members))):
        await sagemaker(
            "CreateModel", ModelName="churn", PrimaryContainer={"Image": "i"}, **members
        )


async def test_members_that_ask_for_nothing_are_accepted(sagemaker: Any) -> None:
    await sagemaker(
        "CreateModel",
        ModelName="churn",
        PrimaryContainer={
            "Image": "i",
            "Mode": "SingleModel",
            "ImageConfig": {"RepositoryAccessMode": "Platform"},
            "AdditionalModelDataSources": [],
        },
        InferenceExecutionConfig={"Mode": "Serial"},
        EnableNetworkIsolation=False,
    )


async def test_the_containers_of_a_pipeline_are_named_by_their_place(sagemaker: Any) -> None:
    await sagemaker(
        "CreateModel",
        ModelName="p",
        Containers=[{"Image": "i"}, {"Image": "j", "ContainerHostname": "last"}],
    )
    containers = (await sagemaker("DescribeModel", ModelName="p"))["Containers"]
    assert [one["ContainerHostname"] for one in containers] == ["container-1", "last"]


async def test_containers_that_are_invoked_directly_have_names_of_their_own(sagemaker: Any) -> None:
    direct = {"InferenceExecutionConfig": {"Mode": "Direct"}}
    named = [{"Image": "i", "ContainerHostname": name} for name in ("a", "b")]
    await sagemaker("CreateModel", ModelName="p", Containers=named, **direct)
    for members in (
        {"Containers": [named[0], {"Image": "j"}]},
        {"PrimaryContainer": {"Image": "i", "ContainerHostname": "a"}},
    ):
        with pytest.raises(ValidationError, match="ContainerHostname"):
            await sagemaker("CreateModel", ModelName="q", **members, **direct)


async def test_any_role_will_do_unless_roles_are_strict(
    sagemaker: Any, strict_sagemaker: Any
) -> None:
    members = {
        "ModelName": "m",
        "PrimaryContainer": {"Image": "i"},
        "ExecutionRoleArn": ROLE,
    }
    await sagemaker("CreateModel", **members)

    with pytest.raises(ValidationError, match="Could not assume role"):
        await strict_sagemaker("CreateModel", **members)
    role = Key(kind="iam-role", account="123456789012", region="", name="runner")
    await strict_sagemaker.store.write(Create(key=role, spec={}))
    await strict_sagemaker("CreateModel", **members)


async def test_models_are_listed_newest_first_in_pages(sagemaker: Any) -> None:
    for number in range(25):
        await sagemaker.model(f"m{number:02}")
        sagemaker.clock.advance(1)

    first = await sagemaker("ListModels")
    assert [one["ModelName"] for one in first["Models"]] == [f"m{n:02}" for n in range(24, 14, -1)]
    second = await sagemaker("ListModels", NextToken=first["NextToken"], MaxResults=100)
    assert [one["ModelName"] for one in second["Models"]] == [f"m{n:02}" for n in range(14, -1, -1)]
    assert "NextToken" not in second

    some = await sagemaker(
        "ListModels",
        NameContains="m1",
        CreationTimeAfter=1012.0,
        CreationTimeBefore=1015.0,
        SortBy="Name",
        SortOrder="Ascending",
    )
    assert [one["ModelName"] for one in some["Models"]] == ["m12", "m13", "m14"]
    assert some["Models"][0] == {
        "ModelName": "m12",
        "ModelArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m12",
        "CreationTime": 1012.0,
    }


async def test_a_token_of_another_list_is_refused(sagemaker: Any) -> None:
    for name in ("a", "b"):
        await sagemaker.model(name)
    token = (await sagemaker("ListModels", MaxResults=1))["NextToken"]
    for members in ({"NameContains": "a"}, {"SortOrder": "Ascending"}, {"region": "eu-west-1"}):
        with pytest.raises(ValidationError, match="token"):
            await sagemaker("ListModels", NextToken=token, **members)
    with pytest.raises(ValidationError, match="token"):
        await sagemaker("ListEndpointConfigs", NextToken=token)


MANY = {"Image": "i", "Mode": "MultiModel", "ModelDataUrl": "s3://b/models/"}


async def test_a_container_of_many_models_is_kept_as_it_came(sagemaker: Any) -> None:
    container = {**MANY, "MultiModelConfig": {"ModelCacheSetting": "Disabled"}}
    await sagemaker("CreateModel", ModelName="many", PrimaryContainer=container)
    shown = await sagemaker("DescribeModel", ModelName="many")
    assert shown["PrimaryContainer"] == {**container, "Environment": {}}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"PrimaryContainer": {"Image": "i", "Mode": "MultiModel"}}, "ValidationException"),
        (
            {
                "PrimaryContainer": {
                    "Image": "i",
                    "ModelDataUrl": "s3://b/k",
                    "MultiModelConfig": {"ModelCacheSetting": "Enabled"},
                }
            },
            "ValidationException",
        ),
        (
            {"Containers": [MANY, {"Image": "i", "ModelDataUrl": "s3://b/k"}]},
            "UnsupportedOperation",
        ),
    ],
)
async def test_many_models_need_a_prefix_and_a_container_of_their_own(
    sagemaker: Any, members: dict[str, Any], code: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        await sagemaker("CreateModel", ModelName="many", **members)
    assert caught.value.code == code
