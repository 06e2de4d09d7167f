"""Users and their access keys."""

from typing import Any, Protocol

import pytest

from modelyard.base.call import Principal
from modelyard.base.errors import ServiceError, Unsupported
from modelyard.base.ids import SeededRandom
from modelyard.services.iam.bootstrap import EXECUTION_ROLE, bootstrap
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

pytestmark = pytest.mark.anyio
ACCOUNT = "123456789012"
DOCUMENT = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}'
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"


class Iam(Protocol):
    clock: ManualClock
    store: MemoryResourceStore
    principal: Principal
    published: list[dict[str, dict[str, Any]]]

    async def __call__(self, operation: str, **members: Any) -> dict[str, Any]: ...


async def test_a_user_is_created_found_and_listed(iam: Iam) -> None:
    created = await iam(
        "CreateUser", UserName="ada", Path="/team/", Tags=[{"Key": "a", "Value": "b"}]
    )
    assert created["User"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/team/ada"
    assert created["User"]["UserId"].startswith("AIDA")
    assert len(created["User"]["UserId"]) == 21
    assert (await iam("GetUser", UserName="ada")) == created
    listed = (await iam("ListUsers", PathPrefix="/team/"))["Users"]
    assert [user["UserName"] for user in listed] == ["ada"]
    assert (await iam("ListUsers", PathPrefix="/other/"))["Users"] == []


async def test_a_name_is_taken_whatever_its_case(iam: Iam) -> None:
    await iam("CreateUser", UserName="ada")
    for name in ("ada", "ADA"):
        with pytest.raises(ServiceError) as refusal:
            await iam("CreateUser", UserName=name)
        assert (refusal.value.code, refusal.value.status) == ("EntityAlreadyExists", 409)


async def test_an_unknown_user_is_no_such_entity(iam: Iam) -> None:
    for operation, members in (
        ("GetUser", {}),
        ("DeleteUser", {}),
        ("CreateAccessKey", {}),
        ("ListAccessKeys", {}),
        ("UpdateUser", {"NewPath": "/x/"}),
        ("TagUser", {"Tags": [{"Key": "a", "Value": ""}]}),
        ("AttachUserPolicy", {"PolicyArn": ADMINISTRATOR}),
        ("PutUserPolicy", {"PolicyName": "p", "PolicyDocument": DOCUMENT}),
    ):
        with pytest.raises(ServiceError) as refusal:
            await iam(operation, UserName="nobody", **members)
        assert (refusal.value.code, refusal.value.status) == ("NoSuchEntity", 404), operation


async def test_without_a_name_the_caller_is_meant(iam: Iam) -> None:
    root = (await iam("GetUser"))["User"]
    assert root["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    assert root["UserId"] == ACCOUNT
    user = (await iam("CreateUser", UserName="ada", Path="/team/"))["User"]
    iam.principal = Principal(kind="user", arn=user["Arn"], id=user["UserId"], account=ACCOUNT)
    assert (await iam("GetUser"))["User"] == user
    key = (await iam("CreateAccessKey"))["AccessKey"]
    assert key["UserName"] == "ada"
    assert (await iam("ListAccessKeys"))["AccessKeyMetadata"][0]["AccessKeyId"] == key[
        "AccessKeyId"
    ]
    iam.principal = Principal(
        kind="role", arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/R/s", id="AROA:s", account=ACCOUNT
    )
    with pytest.raises(ServiceError, match="Must specify userName"):
        await iam("GetUser")


async def test_a_boundary_is_refused_because_nothing_would_heed_it(iam: Iam) -> None:
    with pytest.raises(Unsupported, match="PermissionsBoundary"):
        await iam("CreateUser", UserName="ada", PermissionsBoundary=ADMINISTRATOR)


async def test_every_change_of_a_key_is_published_before_its_answer(iam: Iam) -> None:
    await iam("CreateUser", UserName="ada")
    key = (await iam("CreateAccessKey", UserName="ada"))["AccessKey"]
    key_id = key["AccessKeyId"]
    assert key_id.startswith("AKIA")
    assert key["Status"] == "Active"
    assert iam.published[-1][key_id]["Secret"] == key["SecretAccessKey"]
    assert iam.published[-1][key_id]["principal"] == {
        "kind": "user",
        "arn": f"arn:aws:iam::{ACCOUNT}:user/ada",
        "id": (await iam("GetUser", UserName="ada"))["User"]["UserId"],
        "account": ACCOUNT,
    }
    await iam("UpdateAccessKey", UserName="ada", AccessKeyId=key_id, Status="Inactive")
    assert iam.published[-1][key_id]["Status"] == "Inactive"
    await iam("UpdateUser", UserName="ada", NewUserName="grace", NewPath="/navy/")
    assert iam.published[-1][key_id]["principal"]["arn"].endswith(":user/navy/grace")
    assert iam.published[-1][key_id]["UserName"] == "grace"
    await iam("DeleteAccessKey", UserName="grace", AccessKeyId=key_id)
    assert iam.published[-1] == {}
    assert len(iam.published) == 4


async def test_the_answer_of_create_alone_shows_the_secret(iam: Iam) -> None:
    await iam("CreateUser", UserName="ada")
    key = (await iam("CreateAccessKey", UserName="ada"))["AccessKey"]
    listed = await iam("ListAccessKeys", UserName="ada")
    assert key["SecretAccessKey"] not in str(listed)


async def test_a_user_has_two_keys_at_most(iam: Iam) -> None:
    await iam("CreateUser", UserName="ada")
    for _ in range(2):
        await iam("CreateAccessKey", UserName="ada")
    with pytest.raises(ServiceError) as refusal:
        await iam("CreateAccessKey", UserName="ada")
    assert (refusal.value.code, refusal.value.status) == ("LimitExceeded", 409)


async def test_a_key_of_another_user_is_not_found(iam: Iam) -> None:
    await iam("CreateUser", UserName="ada")
    await iam("CreateUser", UserName="grace")
    key = (await iam("CreateAccessKey", UserName="ada"))["AccessKey"]["AccessKeyId"]
    for operation, members in (("DeleteAccessKey", {}), ("UpdateAccessKey", {"Status": "Active"})):
        with pytest.raises(ServiceError) as refusal:
            await iam(operation, UserName="grace", AccessKeyId=key, **members)
        assert refusal.value.code == "NoSuchEntity"


async def test_the_root_has_keys_too(iam: Iam) -> None:
    key = (await iam("CreateAccessKey"))["AccessKey"]
    assert iam.published[-1][key["AccessKeyId"]]["principal"]["kind"] == "root"
    assert len((await iam("ListAccessKeys"))["AccessKeyMetadata"]) == 1
    await iam("DeleteAccessKey", AccessKeyId=key["AccessKeyId"])
    assert iam.published[-1] == {}


async def test_a_user_is_deleted_only_when_nothing_hangs_on_it(iam: Iam) -> None:
    await iam("CreateUser", UserName="ada")
    key = (await iam("CreateAccessKey", UserName="ada"))["AccessKey"]["AccessKeyId"]
    await iam("AttachUserPolicy", UserName="ada", PolicyArn=ADMINISTRATOR)
    await iam("PutUserPolicy", UserName="ada", PolicyName="p", PolicyDocument=DOCUMENT)
    for operation, members in (
        ("DeleteAccessKey", {"AccessKeyId": key}),
        ("DetachUserPolicy", {"PolicyArn": ADMINISTRATOR}),
        ("DeleteUserPolicy", {"PolicyName": "p"}),
    ):
        with pytest.raises(ServiceError) as refusal:
            await iam("DeleteUser", UserName="ada")
        assert (refusal.value.code, refusal.value.status) == ("DeleteConflict", 409)
        await iam(operation, UserName="ada", **members)
    assert (await iam("ListGroupsForUser", UserName="ada"))["Groups"] == []
    await iam("DeleteUser", UserName="ada")
    assert (await iam("ListUsers"))["Users"] == []


async def test_a_renamed_user_keeps_its_id_and_date_and_policies(iam: Iam) -> None:
    before = (await iam("CreateUser", UserName="ada"))["User"]
    await iam("AttachUserPolicy", UserName="ada", PolicyArn=ADMINISTRATOR)
    iam.clock.advance(10.0)
    await iam("UpdateUser", UserName="ada", NewUserName="Ada")
    after = (await iam("GetUser", UserName="Ada"))["User"]
    assert (after["UserId"], after["CreateDate"]) == (before["UserId"], before["CreateDate"])
    attached = await iam("ListAttachedUserPolicies", UserName="Ada")
    assert attached["AttachedPolicies"][0]["PolicyArn"] == ADMINISTRATOR
    await iam("CreateUser", UserName="grace")
    with pytest.raises(ServiceError) as refusal:
        await iam("UpdateUser", UserName="Ada", NewUserName="grace")
    assert refusal.value.code == "EntityAlreadyExists"


async def test_lists_are_paged_by_markers(iam: Iam) -> None:
    for number in range(5):
        await iam("CreateUser", UserName=f"user-{number}")
    found: list[str] = []
    members: dict[str, Any] = {"MaxItems": 2}
    while True:
        page = await iam("ListUsers", **members)
        found += [user["UserName"] for user in page["Users"]]
        if not page["IsTruncated"]:
            break
        members["Marker"] = page["Marker"]
    assert found == [f"user-{number}" for number in range(5)]
    assert "Marker" not in page
    with pytest.raises(ServiceError, match="Invalid Marker"):
        await iam("ListUsers", Marker="no marker")


async def test_tags_are_added_replaced_and_removed(iam: Iam) -> None:
    await iam("CreateUser", UserName="ada")
    await iam("TagUser", UserName="ada", Tags=[{"Key": "Team", "Value": "a"}])
    await iam("TagUser", UserName="ada", Tags=[{"Key": "team", "Value": "b"}])
    assert (await iam("ListUserTags", UserName="ada"))["Tags"] == [{"Key": "team", "Value": "b"}]
    await iam("UntagUser", UserName="ada", TagKeys=["TEAM"])
    assert (await iam("ListUserTags", UserName="ada"))["Tags"] == []
    with pytest.raises(ServiceError, match="Duplicate tag keys"):
        tags = [{"Key": "a", "Value": ""}, {"Key": "A", "Value": ""}]
        await iam("TagUser", UserName="ada", Tags=tags)
    await iam("TagUser", UserName="ada", Tags=[{"Key": str(key), "Value": ""} for key in range(50)])
    with pytest.raises(ServiceError) as refusal:
        await iam("TagUser", UserName="ada", Tags=[{"Key": "more", "Value": ""}])
    assert refusal.value.code == "LimitExceeded"


async def test_a_platform_begins_with_a_role_that_sagemaker_may_assume(iam: Iam) -> None:
    for seed in (1, 2):
        await bootstrap(iam.store, account=ACCOUNT, clock=iam.clock, random=SeededRandom(seed))
    (role,) = (await iam("ListRoles"))["Roles"]
    assert role["RoleName"] == EXECUTION_ROLE
    assert "sagemaker.amazonaws.com" in role["AssumeRolePolicyDocument"]
    attached = await iam("ListAttachedRolePolicies", RoleName=EXECUTION_ROLE)
    assert attached["AttachedPolicies"] == [
        {
            "PolicyName": "AmazonSageMakerFullAccess",
            "PolicyArn": "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess",
        }
    ]
