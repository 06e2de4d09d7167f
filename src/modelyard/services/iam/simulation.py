"""What may a principal do, and what has the account?

Policies are stored and not yet evaluated: every verified caller may do everything. SimulatePrincipalPolicy says exactly
that, ``allowed``, for principals that exist, and names no statement, because none was consulted. It refuses policies
given only for the simulation: to answer for them would be to evaluate them.
"""

from collections.abc import Sequence

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.services.iam.access_keys import KEYS_MAX
from modelyard.services.iam.attachments import ATTACHED_MAX
from modelyard.services.iam.entities import POLICY, ROLE, USER, find, invalid, page
from modelyard.services.iam.policies import SIZE_MAX, VERSIONS_MAX
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check
from modelyard.store.resources import Json, ResourceStore

MEMBERS: dict[str, Members] = {
    "SimulatePrincipalPolicy": {
        "PolicySourceArn": EXECUTED,
        "ActionNames": EXECUTED,
        "ResourceArns": EXECUTED,
        "ContextEntries": RECORDED,
        "CallerArn": RECORDED,
        "ResourceOwner": RECORDED,
        "ResourceHandlingOption": RECORDED,
        "PolicyInputList": REFUSED,
        "PermissionsBoundaryPolicyInputList": REFUSED,
        "PolicyExclusionList": REFUSED,
        "ResourcePolicy": REFUSED,
        "Marker": EXECUTED,
        "MaxItems": EXECUTED,
    }
}


class Simulation:
    """SimulatePrincipalPolicy."""

    def __init__(self, *, store: ResourceStore) -> None:
        self._store = store

    async def simulate_principal_policy(
        self,
        call: Call,
        *,
        policy_source_arn: str,
        action_names: Sequence[str],
        policy_input_list: Sequence[str] | None = None,
        permissions_boundary_policy_input_list: Sequence[str] | None = None,
        policy_exclusion_list: Sequence[Json] | None = None,
        resource_arns: Sequence[str] | None = None,
        resource_policy: str | None = None,
        resource_owner: str | None = None,
        caller_arn: str | None = None,
        context_entries: Sequence[Json] | None = None,
        resource_handling_option: str | None = None,
        max_items: int | None = None,
        marker: str | None = None,
    ) -> Json:
        check(
            "SimulatePrincipalPolicy",
            MEMBERS["SimulatePrincipalPolicy"],
            {
                "PolicyInputList": policy_input_list,
                "PermissionsBoundaryPolicyInputList": permissions_boundary_policy_input_list,
                "PolicyExclusionList": policy_exclusion_list,
                "ResourcePolicy": resource_policy,
            },
        )
        self._check_source(call, policy_source_arn)
        asked = ((action, arn) for action in action_names for arn in resource_arns or ["*"])
        results = {
            f"{number:06}": {
                "EvalActionName": action,
                "EvalResourceName": arn,
                "EvalDecision": "allowed",
                "MatchedStatements": [],
                "MissingContextValues": [],
            }
            for number, (action, arn) in enumerate(asked)
        }
        return page("EvaluationResults", results, marker=marker, max_items=max_items)

    def _check_source(self, call: Call, text: str) -> None:
        try:
            arn = Arn.parse(text)
        except ValueError:
            raise invalid(f"Invalid Entity Arn: {text}") from None
        noun, _, path = arn.resource.partition("/")
        entities = {entity.noun: entity for entity in (USER, ROLE)}
        if arn.service != "iam" or noun not in entities or arn.account != call.account:
            raise invalid(
                f"Invalid Entity Arn: {text} does not clearly define entity type and name."
            )
        find(self._store, call, entities[noun], path.rpartition("/")[2])


class Account:
    """ListAccountAliases and GetAccountSummary."""

    def __init__(self, *, store: ResourceStore) -> None:
        self._store = store

    async def list_account_aliases(
        self, call: Call, *, marker: str | None = None, max_items: int | None = None
    ) -> Json:
        """None: aliases cannot be created here."""
        return page("AccountAliases", {}, marker=marker, max_items=max_items)

    async def get_account_summary(self, call: Call) -> Json:
        counts = {
            f"{member}s": len(self._store.list(entity.kind, account=call.account))
            for member, entity in (("User", USER), ("Role", ROLE))
        }
        return {
            "SummaryMap": {
                **counts,
                "Policies": len(self._store.list(POLICY.kind, account=call.account)),
                "AccessKeysPerUserQuota": KEYS_MAX,
                "AttachedPoliciesPerUserQuota": ATTACHED_MAX,
                "AttachedPoliciesPerRoleQuota": ATTACHED_MAX,
                "PolicySizeQuota": SIZE_MAX,
                "VersionsPerPolicyQuota": VERSIONS_MAX,
            }
        }
