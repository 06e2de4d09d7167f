"""Roles, policies and what hangs on what."""

import json
from typing import Any, Protocol
from urllib.parse import unquote

import pytest

from modelyard.base.errors import ServiceError, Unsupported
from modelyard.services.iam import documents, managed
from modelyard.testing.memory_store import MemoryResourceStore

pytestmark = pytest.mark.anyio
ACCOUNT = "123456789012"
DOCUMENT = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}'
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": ["sagemaker.amazonaws.com"]},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)
SAGEMAKER = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"


class Iam(Protocol):
    store: MemoryResourceStore

    async def __call__(self, operation: str, **members: Any) -> dict[str, Any]: ...


async def a_role(iam: Iam, name: str = "Worker") -> str:
    created = await iam("CreateRole", RoleName=name, AssumeRolePolicyDocument=TRUST)
    return str(created["Role"]["Arn"])


async def a_policy(iam: Iam, name: str = "Reader", **members: Any) -> str:
    created = await iam("CreatePolicy", PolicyName=name, PolicyDocument=DOCUMENT, **members)
    return str(created["Policy"]["Arn"])


async def test_a_role_shows_its_trust_percent_encoded(iam: Iam) -> None:
    await iam(
        "CreateRole",
        RoleName="Worker",
        Path="/jobs/",
        AssumeRolePolicyDocument=TRUST,
        Description="does",
        MaxSessionDuration=7200,
        Tags=[{"Key": "a", "Value": "b"}],
    )
    role = (await iam("GetRole", RoleName="Worker"))["Role"]
    assert role["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/jobs/Worker"
    assert role["RoleId"].startswith("AROA")
    assert "{" not in role["AssumeRolePolicyDocument"]
    assert unquote(role["AssumeRolePolicyDocument"]) == TRUST
    assert (role["Description"], role["MaxSessionDuration"]) == ("does", 7200)
    assert role["Tags"] == [{"Key": "a", "Value": "b"}]
    assert "Tags" not in (await iam("ListRoles"))["Roles"][0]


async def test_a_role_is_updated_and_deleted(iam: Iam) -> None:
    await a_role(iam)
    await iam("UpdateRole", RoleName="Worker", Description="new", MaxSessionDuration=3600)
    await iam("UpdateAssumeRolePolicy", RoleName="Worker", PolicyDocument=TRUST + " ")
    role = (await iam("GetRole", RoleName="Worker"))["Role"]
    assert role["Description"] == "new"
    assert unquote(role["AssumeRolePolicyDocument"]) == TRUST + " "
    again = await iam("UpdateRoleDescription", RoleName="Worker", Description="")
    assert "Description" not in again["Role"]
    await iam("TagRole", RoleName="Worker", Tags=[{"Key": "a", "Value": "b"}])
    assert (await iam("ListRoleTags", RoleName="Worker"))["Tags"] == [{"Key": "a", "Value": "b"}]
    await iam("UntagRole", RoleName="Worker", TagKeys=["a"])
    assert (await iam("ListInstanceProfilesForRole", RoleName="Worker"))["InstanceProfiles"] == []
    with pytest.raises(ServiceError) as refusal:
        await a_role(iam)
    assert refusal.value.code == "EntityAlreadyExists"
    await iam("DeleteRole", RoleName="Worker")
    with pytest.raises(ServiceError) as refusal:
        await iam("GetRole", RoleName="Worker")
    assert (refusal.value.code, refusal.value.status) == ("NoSuchEntity", 404)
    assert refusal.value.message == "The role with name Worker cannot be found."


async def test_a_role_is_deleted_only_without_policies(iam: Iam) -> None:
    await a_role(iam)
    await iam("AttachRolePolicy", RoleName="Worker", PolicyArn=SAGEMAKER)
    await iam("PutRolePolicy", RoleName="Worker", PolicyName="p", PolicyDocument=DOCUMENT)
    for operation, members in (
        ("DetachRolePolicy", {"PolicyArn": SAGEMAKER}),
        ("DeleteRolePolicy", {"PolicyName": "p"}),
    ):
        with pytest.raises(ServiceError) as refusal:
            await iam("DeleteRole", RoleName="Worker")
        assert (refusal.value.code, refusal.value.status) == ("DeleteConflict", 409)
        await iam(operation, RoleName="Worker", **members)
        with pytest.raises(ServiceError) as refusal:
            await iam(operation, RoleName="Worker", **members)
        assert refusal.value.code == "NoSuchEntity"
    await iam("DeleteRole", RoleName="Worker")


async def test_inline_policies_come_back_as_they_were_put(iam: Iam) -> None:
    await a_role(iam)
    for name in ("a", "b", "a"):
        await iam("PutRolePolicy", RoleName="Worker", PolicyName=name, PolicyDocument=DOCUMENT)
    found = await iam("GetRolePolicy", RoleName="Worker", PolicyName="a")
    assert unquote(found["PolicyDocument"]) == DOCUMENT
    assert (await iam("ListRolePolicies", RoleName="Worker"))["PolicyNames"] == ["a", "b"]
    page = await iam("ListRolePolicies", RoleName="Worker", MaxItems=1)
    assert page["IsTruncated"]
    with pytest.raises(ServiceError) as refusal:
        await iam("GetRolePolicy", RoleName="Worker", PolicyName="c")
    assert refusal.value.message == "The role policy with name c cannot be found."
    long = json.dumps({"Statement": [json.loads(DOCUMENT)["Statement"]] * 250})
    with pytest.raises(ServiceError) as refusal:
        await iam("PutRolePolicy", RoleName="Worker", PolicyName="c", PolicyDocument=long)
    assert refusal.value.code == "LimitExceeded"


async def test_inline_policies_of_users_are_told_apart(iam: Iam) -> None:
    await iam("CreateUser", UserName="ada")
    await iam("PutUserPolicy", UserName="ada", PolicyName="p", PolicyDocument=DOCUMENT)
    assert (await iam("ListUserPolicies", UserName="ada"))["PolicyNames"] == ["p"]
    found = await iam("GetUserPolicy", UserName="ada", PolicyName="p")
    assert (found["UserName"], unquote(found["PolicyDocument"])) == ("ada", DOCUMENT)


async def test_a_policy_has_up_to_five_versions(iam: Iam) -> None:
    arn = await a_policy(iam, Description="reads", Tags=[{"Key": "a", "Value": "b"}])
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/Reader"
    for number in range(2, 6):
        made = await iam(
            "CreatePolicyVersion",
            PolicyArn=arn,
            PolicyDocument=DOCUMENT,
            SetAsDefault=number == 3,
        )
        assert made["PolicyVersion"]["VersionId"] == f"v{number}"
    with pytest.raises(ServiceError) as refusal:
        await iam("CreatePolicyVersion", PolicyArn=arn, PolicyDocument=DOCUMENT)
    assert refusal.value.code == "LimitExceeded"
    assert (await iam("GetPolicy", PolicyArn=arn))["Policy"]["DefaultVersionId"] == "v3"
    with pytest.raises(ServiceError) as refusal:
        await iam("DeletePolicyVersion", PolicyArn=arn, VersionId="v3")
    assert refusal.value.code == "DeleteConflict"
    await iam("DeletePolicyVersion", PolicyArn=arn, VersionId="v5")
    made = await iam("CreatePolicyVersion", PolicyArn=arn, PolicyDocument=DOCUMENT)
    assert made["PolicyVersion"]["VersionId"] == "v6"
    await iam("SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v1")
    versions = (await iam("ListPolicyVersions", PolicyArn=arn))["Versions"]
    assert [one["VersionId"] for one in versions] == ["v1", "v2", "v3", "v4", "v6"]
    assert [one["IsDefaultVersion"] for one in versions] == [True, False, False, False, False]
    shown = (await iam("GetPolicyVersion", PolicyArn=arn, VersionId="v2"))["PolicyVersion"]
    assert unquote(shown["Document"]) == DOCUMENT
    for operation in ("GetPolicyVersion", "DeletePolicyVersion", "SetDefaultPolicyVersion"):
        with pytest.raises(ServiceError) as refusal:
            await iam(operation, PolicyArn=arn, VersionId="v9")
        assert refusal.value.code == "NoSuchEntity"


async def test_a_policy_is_deleted_when_detached_and_of_one_version(iam: Iam) -> None:
    arn = await a_policy(iam)
    await a_role(iam)
    await iam("AttachRolePolicy", RoleName="Worker", PolicyArn=arn)
    await iam("CreatePolicyVersion", PolicyArn=arn, PolicyDocument=DOCUMENT)
    for operation, members in (
        ("DetachRolePolicy", {"RoleName": "Worker", "PolicyArn": arn}),
        ("DeletePolicyVersion", {"PolicyArn": arn, "VersionId": "v2"}),
    ):
        with pytest.raises(ServiceError) as refusal:
            await iam("DeletePolicy", PolicyArn=arn)
        assert (refusal.value.code, refusal.value.status) == ("DeleteConflict", 409)
        await iam(operation, **members)
    await iam("DeletePolicy", PolicyArn=arn)
    with pytest.raises(ServiceError) as refusal:
        await iam("GetPolicy", PolicyArn=arn)
    assert refusal.value.code == "NoSuchEntity"


async def test_aws_policies_are_there_and_cannot_be_changed(iam: Iam) -> None:
    policy = (await iam("GetPolicy", PolicyArn=SAGEMAKER))["Policy"]
    assert policy["AttachmentCount"] == 0
    await iam("GetPolicyVersion", PolicyArn=SAGEMAKER, VersionId=policy["DefaultVersionId"])
    for operation, members in (
        ("DeletePolicy", {}),
        ("CreatePolicyVersion", {"PolicyDocument": DOCUMENT}),
        ("TagPolicy", {"Tags": [{"Key": "a", "Value": "b"}]}),
    ):
        with pytest.raises(ServiceError) as refusal:
            await iam(operation, PolicyArn=SAGEMAKER, **members)
        assert (refusal.value.code, refusal.value.status) == ("AccessDenied", 403)
    for policy in managed.POLICIES.values():
        documents.check(policy["Versions"]["v1"]["Document"], "identity")


async def test_policies_are_listed_by_scope_path_and_use(iam: Iam) -> None:
    mine = await a_policy(iam, Path="/mine/")
    await a_role(iam)
    await iam("AttachRolePolicy", RoleName="Worker", PolicyArn=mine)

    async def names(**members: Any) -> set[str]:
        policies = (await iam("ListPolicies", **members))["Policies"]
        return {policy["PolicyName"] for policy in policies}

    assert await names(Scope="Local") == {"Reader"}
    assert "Reader" not in await names(Scope="AWS")
    assert {"Reader", "AdministratorAccess"} < await names()
    assert await names(OnlyAttached=True) == {"Reader"}
    assert await names(PathPrefix="/mine/") == {"Reader"}
    assert await names(PolicyUsageFilter="PermissionsBoundary") == set()
    await iam("TagPolicy", PolicyArn=mine, Tags=[{"Key": "a", "Value": "b"}])
    assert (await iam("ListPolicyTags", PolicyArn=mine))["Tags"] == [{"Key": "a", "Value": "b"}]
    await iam("UntagPolicy", PolicyArn=mine, TagKeys=["a"])
    assert (await iam("ListPolicyTags", PolicyArn=mine))["Tags"] == []


async def test_attaching_twice_is_attaching_once(iam: Iam) -> None:
    arn = await a_policy(iam, "AmazonSageMakerFullAccess")
    await a_role(iam)
    await iam("CreateUser", UserName="ada")
    for policy in (arn, SAGEMAKER, arn):
        await iam("AttachRolePolicy", RoleName="Worker", PolicyArn=policy)
    attached = (await iam("ListAttachedRolePolicies", RoleName="Worker"))["AttachedPolicies"]
    assert [one["PolicyArn"] for one in attached] == [arn, SAGEMAKER]
    await iam("AttachUserPolicy", UserName="ada", PolicyArn=arn)
    assert (await iam("GetPolicy", PolicyArn=arn))["Policy"]["AttachmentCount"] == 2
    holders = await iam("ListEntitiesForPolicy", PolicyArn=arn)
    assert [user["UserName"] for user in holders["PolicyUsers"]] == ["ada"]
    assert [role["RoleName"] for role in holders["PolicyRoles"]] == ["Worker"]
    only = await iam("ListEntitiesForPolicy", PolicyArn=arn, EntityFilter="User")
    assert only["PolicyRoles"] == []


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        (f"arn:aws:iam::{ACCOUNT}:policy/None", "NoSuchEntity"),
        ("arn:aws:iam::210987654321:policy/Reader", "NoSuchEntity"),
        (f"arn:aws:iam::{ACCOUNT}:policy/other/Reader", "NoSuchEntity"),
        ("arn:aws:iam::aws:policy/NoSuchPolicy", "NoSuchEntity"),
        (f"arn:aws:iam::{ACCOUNT}:role/Worker", "InvalidInput"),
        ("not an arn, but long enough", "InvalidInput"),
    ],
)
async def test_a_policy_that_is_not_there_is_not_attached(iam: Iam, arn: str, code: str) -> None:
    await a_role(iam)
    await a_policy(iam)
    with pytest.raises(ServiceError) as refusal:
        await iam("AttachRolePolicy", RoleName="Worker", PolicyArn=arn)
    assert refusal.value.code == code


async def test_a_simulation_says_what_the_platform_does(iam: Iam) -> None:
    arn = await a_role(iam)
    answer = await iam(
        "SimulatePrincipalPolicy",
        PolicySourceArn=arn,
        ActionNames=["sagemaker:CreateModel", "s3:GetObject"],
        ResourceArns=["*", "arn:aws:s3:::b"],
        MaxItems=3,
    )
    decisions = {
        (one["EvalActionName"], one["EvalResourceName"]): one["EvalDecision"]
        for one in answer["EvaluationResults"]
    }
    assert set(decisions.values()) == {"allowed"}
    assert len(decisions) == 3
    assert answer["IsTruncated"]
    with pytest.raises(Unsupported, match="PolicyInputList"):
        await iam(
            "SimulatePrincipalPolicy",
            PolicySourceArn=arn,
            ActionNames=["s3:*"],
            PolicyInputList=[DOCUMENT],
        )
    for source, code in (
        (f"arn:aws:iam::{ACCOUNT}:role/None", "NoSuchEntity"),
        (f"arn:aws:iam::{ACCOUNT}:root", "InvalidInput"),
        ("no arn but long enough", "InvalidInput"),
    ):
        with pytest.raises(ServiceError) as refusal:
            await iam("SimulatePrincipalPolicy", PolicySourceArn=source, ActionNames=["s3:*"])
        assert refusal.value.code == code


async def test_an_account_is_summed_up(iam: Iam) -> None:
    await a_role(iam)
    summary = (await iam("GetAccountSummary"))["SummaryMap"]
    assert (summary["Users"], summary["Roles"], summary["Policies"]) == (0, 1, 0)
    assert (await iam("ListAccountAliases"))["AccountAliases"] == []


STATEMENT = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
TRUSTING = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}


@pytest.mark.parametrize(
    "statement",
    [
        STATEMENT,
        [STATEMENT, STATEMENT],
        STATEMENT | {"Sid": "Read1", "Action": ["s3:Get*", "*"]},
        {"Effect": "Deny", "NotAction": "iam:*", "NotResource": ["arn:aws:s3:::b/*"]},
        STATEMENT | {"Condition": {"StringLikeIfExists": {"aws:username": ["a*", "b"]}}},
        STATEMENT | {"Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": "a"}}},
        STATEMENT | {"Condition": {"Null": {"aws:TokenIssueTime": "true"}}},
    ],
)
def test_policies_of_the_language_pass(statement: Any) -> None:
    documents.check(json.dumps({"Version": "2012-10-17", "Statement": statement}), "identity")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        '"text"',
        "{}",
        "[" * 100_000,
        '{"Statement": []}',
        '{"Statement": [1]}',
        '{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}',
        json.dumps({"Version": "2020-01-01", "Statement": STATEMENT}),
        json.dumps({"Statement": STATEMENT, "Other": 1}),
        json.dumps({"Statement": STATEMENT | {"Effect": "allow"}}),
        json.dumps({"Statement": STATEMENT | {"Action": "GetObject"}}),
        json.dumps({"Statement": STATEMENT | {"Action": 1}}),
        json.dumps({"Statement": STATEMENT | {"NotAction": "s3:*"}}),
        json.dumps({"Statement": STATEMENT | {"Resource": "bucket"}}),
        json.dumps({"Statement": {"Effect": "Allow", "Action": "s3:*"}}),
        json.dumps({"Statement": STATEMENT | {"Principal": "*"}}),
        json.dumps({"Statement": STATEMENT | {"Sid": "a b"}}),
        json.dumps({"Statement": [STATEMENT | {"Sid": "a"}] * 2}),
        json.dumps({"Statement": STATEMENT | {"Condition": []}}),
        json.dumps({"Statement": STATEMENT | {"Condition": {"StringAlmost": {"a": "b"}}}}),
        json.dumps({"Statement": STATEMENT | {"Condition": {"StringEquals": "a"}}}),
        json.dumps({"Statement": STATEMENT | {"Condition": {"StringEquals": {"a": [{}]}}}}),
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        documents.check(text, "identity")
    assert (refusal.value.code, refusal.value.status) == ("MalformedPolicyDocument", 400)


@pytest.mark.parametrize(
    ("statement", "passes"),
    [
        (TRUSTING, True),
        (TRUSTING | {"Principal": "*"}, True),
        (TRUSTING | {"Principal": {"Service": ["a.amazonaws.com"]}}, True),
        (TRUSTING | {"Resource": "*"}, False),
        (TRUSTING | {"Principal": {}}, False),
        (TRUSTING | {"Principal": {"Someone": "a"}}, False),
        (TRUSTING | {"Principal": "me"}, False),
        ({"Effect": "Allow", "Action": "sts:AssumeRole"}, False),
    ],
)
def test_a_trust_policy_says_who(statement: Any, passes: bool) -> None:
    text = json.dumps({"Statement": statement})
    if passes:
        documents.check(text, "trust")
    else:
        with pytest.raises(ServiceError):
            documents.check(text, "trust")


async def test_roles_and_policies_refuse_malformed_documents(iam: Iam) -> None:
    with pytest.raises(ServiceError) as refusal:
        await iam("CreateRole", RoleName="Worker", AssumeRolePolicyDocument=DOCUMENT)
    assert refusal.value.code == "MalformedPolicyDocument"
    with pytest.raises(ServiceError):
        await iam("CreatePolicy", PolicyName="Reader", PolicyDocument=TRUST)
    long = json.dumps({"Statement": [STATEMENT] * 200})
    with pytest.raises(ServiceError) as refusal:
        await iam("CreatePolicy", PolicyName="Reader", PolicyDocument=long)
    assert refusal.value.code == "LimitExceeded"
