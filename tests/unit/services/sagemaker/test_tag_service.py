import asyncio
from typing import Any

import pytest

from modelyard.base.errors import Unsupported, ValidationError

pytestmark = pytest.mark.anyio


def tag(key: str, value: str = "v") -> dict[str, str]:
    return {"Key": key, "Value": value}


async def tags(sagemaker: Any, arn: str, **members: Any) -> dict[str, str]:
    listed = await sagemaker("ListTags", ResourceArn=arn, **members)
    return {one["Key"]: one["Value"] for one in listed["Tags"]}


async def test_tags_of_everything_are_added_replaced_and_deleted(sagemaker: Any) -> None:
    model = await sagemaker.model("Churn")
    config = await sagemaker.config("Config", model="Churn")
    endpoint = await sagemaker.endpoint("Live", config="Config")
    for arn in (model, config, endpoint):
        await sagemaker("AddTags", ResourceArn=arn, Tags=[tag("a"), tag("b")])
        added = await sagemaker("AddTags", ResourceArn=arn, Tags=[tag("b", "new"), tag("c")])
        assert {one["Key"]: one["Value"] for one in added["Tags"]} == {
            "a": "v",
            "b": "new",
            "c": "v",
        }
        await sagemaker("DeleteTags", ResourceArn=arn, TagKeys=["a", "unknown"])
        assert await tags(sagemaker, arn) == {"b": "new", "c": "v"}


async def test_a_resource_has_at_most_fifty_tags(sagemaker: Any) -> None:
    created = await sagemaker(
        "CreateModel",
        ModelName="m",
        PrimaryContainer={"Image": "i"},
        Tags=[tag(f"k{n:02}") for n in range(50)],
    )
    arn = created["ModelArn"]
    assert len(await tags(sagemaker, arn)) == 50

    with pytest.raises(ValidationError, match="50 tags"):
        await sagemaker("AddTags", ResourceArn=arn, Tags=[tag("one more")])
    await sagemaker("AddTags", ResourceArn=arn, Tags=[tag("k00", "replaced")])


async def test_tags_do_not_change_what_an_endpoint_runs(sagemaker: Any) -> None:
    await sagemaker.model()
    await sagemaker.config()
    arn = await sagemaker.endpoint()
    before = sagemaker.spec("endpoint", "live")
    await sagemaker("AddTags", ResourceArn=arn, Tags=[tag("a")])
    assert sagemaker.spec("endpoint", "live") == {**before, "Tags": [tag("a")]}


async def test_tags_added_at_the_same_time_are_all_kept(sagemaker: Any) -> None:
    arn = await sagemaker.model()
    await asyncio.gather(
        *(sagemaker("AddTags", ResourceArn=arn, Tags=[tag(f"k{n}")]) for n in range(10))
    )
    assert len(await tags(sagemaker, arn)) == 10


@pytest.mark.parametrize(
    ("arn", "error"),
    [
        ("arn:aws:sagemaker:us-east-1:123456789012:model/gone", ValidationError),
        ("arn:aws:sagemaker:eu-west-1:123456789012:model/churn", ValidationError),
        ("arn:aws:sagemaker:us-east-1:999999999999:model/churn", ValidationError),
        ("arn:aws:s3:::bucket", ValidationError),
        ("no arn", ValidationError),
        ("arn:aws:sagemaker:us-east-1:123456789012:training-job/t", Unsupported),
    ],
)
async def test_an_arn_that_names_nothing_of_the_caller_is_refused(
    sagemaker: Any, arn: str, error: type[Exception]
) -> None:
    await sagemaker.model()
    with pytest.raises(error):
        await sagemaker("ListTags", ResourceArn=arn)
    with pytest.raises(error):
        await sagemaker("AddTags", ResourceArn=arn, Tags=[tag("a")])
