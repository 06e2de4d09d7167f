"""Every operation that Modelyard executes, service by service: the one table. What is not here answers 501."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from botocore import xform_name

from modelyard.services.application_autoscaling.activities import ScalingActivities
from modelyard.services.application_autoscaling.policies import ScalingPolicies
from modelyard.services.application_autoscaling.scheduled_actions import ScheduledActions
from modelyard.services.application_autoscaling.tags import ScalingTags
from modelyard.services.application_autoscaling.targets import ScalableTargets
from modelyard.services.cloudwatch.alarms import Alarms
from modelyard.services.cloudwatch.metric_data import MetricData
from modelyard.services.cloudwatch.metrics import Metrics
from modelyard.services.comprehend.classifiers import Classifiers
from modelyard.services.comprehend.detection import Detection
from modelyard.services.comprehend.job_operations import DetectionJobs
from modelyard.services.comprehend.model_endpoints import ModelEndpoints
from modelyard.services.comprehend.recognisers import Recognisers
from modelyard.services.comprehend.tags import ComprehendTags
from modelyard.services.cost_explorer import CostExplorer
from modelyard.services.iam.access_keys import AccessKeys
from modelyard.services.iam.attachments import Attachments
from modelyard.services.iam.inline import InlinePolicies
from modelyard.services.iam.policies import Policies
from modelyard.services.iam.roles import Roles as IamRoles
from modelyard.services.iam.simulation import Account, Simulation
from modelyard.services.iam.users import Users
from modelyard.services.lex.aliases import Aliases
from modelyard.services.lex.bots import Bots
from modelyard.services.lex.builtins import BuiltIns
from modelyard.services.lex.exports import Exports
from modelyard.services.lex.imports import Imports
from modelyard.services.lex.intents import Intents
from modelyard.services.lex.locales import Locales
from modelyard.services.lex.runtime import Conversations
from modelyard.services.lex.slot_types import SlotTypes
from modelyard.services.lex.slots import Slots
from modelyard.services.lex.tags import BotTags
from modelyard.services.lex.versions import Versions
from modelyard.services.logs import Logs
from modelyard.services.sagemaker.endpoint_configs import EndpointConfigs
from modelyard.services.sagemaker.endpoints import Endpoints
from modelyard.services.sagemaker.models import Models
from modelyard.services.sagemaker.tags import Tags
from modelyard.services.sagemaker.transform_jobs import TransformJobs
from modelyard.services.sagemaker_runtime import AsyncInvocations
from modelyard.services.sts import Sts
from modelyard.services.translate.documents import Documents
from modelyard.services.translate.jobs import TranslationJobs
from modelyard.services.translate.terminologies import Terminologies
from modelyard.services.translate.translation import Translation

Operation = Callable[..., Awaitable[Mapping[str, Any] | None]]

SAGEMAKER: dict[type, tuple[str, ...]] = {
    Models: ("CreateModel", "DescribeModel", "ListModels", "DeleteModel"),
    EndpointConfigs: (
        "CreateEndpointConfig", "DescribeEndpointConfig", "ListEndpointConfigs", "DeleteEndpointConfig",
    ),
    Endpoints: (
        "CreateEndpoint", "DescribeEndpoint", "ListEndpoints", "UpdateEndpoint", "DeleteEndpoint",
        "UpdateEndpointWeightsAndCapacities",
    ),
    Tags: ("AddTags", "ListTags", "DeleteTags"),
    TransformJobs: (
        "CreateTransformJob", "DescribeTransformJob", "ListTransformJobs", "StopTransformJob",
    ),
}  # fmt: skip
IAM: dict[type, tuple[str, ...]] = {
    Users: (
        "CreateUser", "GetUser", "ListUsers", "UpdateUser", "DeleteUser", "TagUser", "UntagUser",
        "ListUserTags", "ListGroupsForUser",
    ),
    AccessKeys: (
        "CreateAccessKey", "ListAccessKeys", "UpdateAccessKey", "DeleteAccessKey",
    ),
    IamRoles: (
        "CreateRole", "GetRole", "ListRoles", "UpdateRole", "UpdateRoleDescription",
        "UpdateAssumeRolePolicy", "DeleteRole", "TagRole", "UntagRole", "ListRoleTags",
        "ListInstanceProfilesForRole",
    ),
    Policies: (
        "CreatePolicy", "GetPolicy", "ListPolicies", "DeletePolicy", "CreatePolicyVersion",
        "GetPolicyVersion", "ListPolicyVersions", "DeletePolicyVersion", "SetDefaultPolicyVersion",
        "TagPolicy", "UntagPolicy", "ListPolicyTags",
    ),
    Attachments: (
        "AttachUserPolicy", "AttachRolePolicy", "DetachUserPolicy", "DetachRolePolicy",
        "ListAttachedUserPolicies", "ListAttachedRolePolicies", "ListEntitiesForPolicy",
    ),
    InlinePolicies: (
        "PutUserPolicy", "PutRolePolicy", "GetUserPolicy", "GetRolePolicy", "ListUserPolicies",
        "ListRolePolicies", "DeleteUserPolicy", "DeleteRolePolicy",
    ),
    Simulation: (
        "SimulatePrincipalPolicy",
    ),
    Account: (
        "ListAccountAliases", "GetAccountSummary",
    ),
}  # fmt: skip

STS: dict[type, tuple[str, ...]] = {Sts: ("GetCallerIdentity", "AssumeRole", "GetSessionToken")}
LOGS: dict[type, tuple[str, ...]] = {
    Logs: (
        "DescribeLogGroups", "DescribeLogStreams", "GetLogEvents", "FilterLogEvents", "PutLogEvents", "CreateLogGroup",
        "CreateLogStream", "DeleteLogGroup", "DeleteLogStream", "PutRetentionPolicy", "DeleteRetentionPolicy",
    ),
}  # fmt: skip
AUTOSCALING: dict[type, tuple[str, ...]] = {
    ScalableTargets: (
        "RegisterScalableTarget", "DeregisterScalableTarget", "DescribeScalableTargets",
    ),
    ScalingPolicies: (
        "PutScalingPolicy", "DeleteScalingPolicy", "DescribeScalingPolicies",
    ),
    ScheduledActions: (
        "PutScheduledAction", "DeleteScheduledAction", "DescribeScheduledActions",
    ),
    ScalingActivities: (
        "DescribeScalingActivities",
    ),
    ScalingTags: ("TagResource", "UntagResource", "ListTagsForResource"),
}  # fmt: skip
CLOUDWATCH: dict[type, tuple[str, ...]] = {
    Metrics: (
        "PutMetricData", "GetMetricStatistics", "ListMetrics",
    ),
    MetricData: (
        "GetMetricData",
    ),
    Alarms: (
        "PutMetricAlarm", "DescribeAlarms", "DescribeAlarmsForMetric", "DescribeAlarmHistory", "SetAlarmState",
        "EnableAlarmActions", "DisableAlarmActions", "DeleteAlarms", "TagResource", "UntagResource",
        "ListTagsForResource",
    ),
}  # fmt: skip
COMPREHEND: dict[type, tuple[str, ...]] = {
    Detection: (
        "DetectDominantLanguage", "DetectSentiment", "DetectEntities", "DetectKeyPhrases", "DetectSyntax",
        "DetectPiiEntities", "ContainsPiiEntities", "BatchDetectDominantLanguage", "BatchDetectSentiment",
        "BatchDetectEntities", "BatchDetectKeyPhrases", "BatchDetectSyntax",
    ),
    Classifiers: (
        "CreateDocumentClassifier", "DescribeDocumentClassifier", "ListDocumentClassifiers",
        "ListDocumentClassifierSummaries", "StopTrainingDocumentClassifier", "DeleteDocumentClassifier",
    ),
    Recognisers: (
        "CreateEntityRecognizer", "DescribeEntityRecognizer", "ListEntityRecognizers",
        "ListEntityRecognizerSummaries", "StopTrainingEntityRecognizer", "DeleteEntityRecognizer",
    ),
    ModelEndpoints: (
        "CreateEndpoint", "DescribeEndpoint", "UpdateEndpoint", "DeleteEndpoint", "ListEndpoints", "ClassifyDocument",
    ),
    ComprehendTags: ("TagResource", "UntagResource", "ListTagsForResource"),
    DetectionJobs: (
        "StartDominantLanguageDetectionJob", "DescribeDominantLanguageDetectionJob", "ListDominantLanguageDetectionJobs",
        "StopDominantLanguageDetectionJob",
        "StartEntitiesDetectionJob", "DescribeEntitiesDetectionJob", "ListEntitiesDetectionJobs",
        "StopEntitiesDetectionJob",
        "StartKeyPhrasesDetectionJob", "DescribeKeyPhrasesDetectionJob", "ListKeyPhrasesDetectionJobs",
        "StopKeyPhrasesDetectionJob",
        "StartSentimentDetectionJob", "DescribeSentimentDetectionJob", "ListSentimentDetectionJobs",
        "StopSentimentDetectionJob",
        "StartDocumentClassificationJob", "DescribeDocumentClassificationJob", "ListDocumentClassificationJobs",
        "StartTopicsDetectionJob", "DescribeTopicsDetectionJob", "ListTopicsDetectionJobs",
        "StartPiiEntitiesDetectionJob", "DescribePiiEntitiesDetectionJob", "ListPiiEntitiesDetectionJobs",
        "StopPiiEntitiesDetectionJob",
    ),
}  # fmt: skip
TRANSLATE: dict[type, tuple[str, ...]] = {
    Translation: ("TranslateText", "ListLanguages"),
    Documents: ("TranslateDocument",),
    TranslationJobs: (
        "StartTextTranslationJob", "DescribeTextTranslationJob", "ListTextTranslationJobs", "StopTextTranslationJob",
    ),
    Terminologies: (
        "ImportTerminology", "GetTerminology", "ListTerminologies", "DeleteTerminology",
    ),
}  # fmt: skip
LEX_MODELS: dict[type, tuple[str, ...]] = {
    Bots: ("CreateBot", "DescribeBot", "UpdateBot", "DeleteBot", "ListBots"),
    Locales: (
        "CreateBotLocale", "DescribeBotLocale", "UpdateBotLocale", "DeleteBotLocale", "ListBotLocales", "BuildBotLocale",
    ),
    Intents: ("CreateIntent", "DescribeIntent", "UpdateIntent", "DeleteIntent", "ListIntents"),
    Slots: ("CreateSlot", "DescribeSlot", "UpdateSlot", "DeleteSlot", "ListSlots"),
    SlotTypes: (
        "CreateSlotType", "DescribeSlotType", "UpdateSlotType", "DeleteSlotType", "ListSlotTypes",
    ),
    Versions: ("CreateBotVersion", "DescribeBotVersion", "DeleteBotVersion", "ListBotVersions"),
    Aliases: (
        "CreateBotAlias", "DescribeBotAlias", "UpdateBotAlias", "DeleteBotAlias", "ListBotAliases",
    ),
    BuiltIns: ("ListBuiltInIntents", "ListBuiltInSlotTypes"),
    BotTags: ("TagResource", "UntagResource", "ListTagsForResource"),
    Exports: ("CreateExport", "DescribeExport", "UpdateExport", "DeleteExport", "ListExports"),
    Imports: ("CreateUploadUrl", "StartImport", "DescribeImport", "DeleteImport", "ListImports"),
}  # fmt: skip
LEX_RUNTIME: dict[type, tuple[str, ...]] = {
    Conversations: (
        "RecognizeText", "RecognizeUtterance", "PutSession", "GetSession", "DeleteSession",
    ),
}  # fmt: skip
COST_EXPLORER: dict[type, tuple[str, ...]] = {
    CostExplorer: ("GetCostAndUsage", "GetDimensionValues")
}
SERVICES: dict[str, dict[type, tuple[str, ...]]] = {
    "sagemaker": SAGEMAKER,
    "sagemaker-runtime": {AsyncInvocations: ("InvokeEndpointAsync",)},
    "iam": IAM,
    "sts": STS,
    "logs": LOGS,
    "application-autoscaling": AUTOSCALING,
    "cloudwatch": CLOUDWATCH,
    "comprehend": COMPREHEND,
    "translate": TRANSLATE,
    "ce": COST_EXPLORER,
    "lexv2-models": LEX_MODELS,
    "lexv2-runtime": LEX_RUNTIME,
}


def operations(
    table: Mapping[str, Mapping[type, tuple[str, ...]]], objects: Mapping[type, object]
) -> dict[str, dict[str, Operation]]:
    """The table with each operation's method of the object that was built for its class."""
    return {
        service: {
            name: getattr(objects[owner], xform_name(name))
            for owner, names in classes.items()
            for name in names
        }
        for service, classes in table.items()
    }
