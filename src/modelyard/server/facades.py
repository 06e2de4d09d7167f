"""The services but for AI, as ``services/registry.py`` names them; the AI services are ``server/ai.py``'s."""

from collections.abc import Awaitable, Callable

from modelyard.base.call import Principal
from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Settings
from modelyard.server.async_plane import UriObjects
from modelyard.server.scaling import build_services
from modelyard.server.stores import Stores
from modelyard.services.cloudwatch.alarms import Alarms
from modelyard.services.cloudwatch.metric_data import MetricData
from modelyard.services.cloudwatch.metrics import Metrics
from modelyard.services.iam.access_keys import AccessKeys
from modelyard.services.iam.attachments import Attachments
from modelyard.services.iam.inline import InlinePolicies
from modelyard.services.iam.policies import Policies
from modelyard.services.iam.roles import Roles as IamRoles
from modelyard.services.iam.simulation import Account, Simulation
from modelyard.services.iam.users import Users
from modelyard.services.logs import Logs
from modelyard.services.sagemaker.endpoint_configs import EndpointConfigs
from modelyard.services.sagemaker.endpoints import Endpoints
from modelyard.services.sagemaker.models import Models
from modelyard.services.sagemaker.resources import Roles
from modelyard.services.sagemaker.rollout_trials import DOCUMENT_BYTES_MAX
from modelyard.services.sagemaker.tags import Tags
from modelyard.services.sagemaker.transform_jobs import TransformJobs
from modelyard.services.sagemaker_runtime import AsyncInvocations
from modelyard.services.sts import Sts
from modelyard.store.resources import ResourceStore
from modelyard.wire import sealed


def build_facades(
    settings: Settings,
    *,
    stores: Stores,
    clock: Clock,
    random: RandomSource,
    publish_keys: Callable[[], Awaitable[None]],
    wake_invoker: Callable[[], None],
) -> tuple[object, ...]:
    """All of them. A new service adds its façade here."""
    store = stores.resources
    roles = Roles(store=store, strict=settings.strict_roles)
    alarms = Alarms(store=store, metrics=stores.metrics, clock=clock)
    return (
        Models(store=store, roles=roles),
        EndpointConfigs(store=store, roles=roles),
        alarms,
        Endpoints(
            store=store,
            clock=clock,
            alarm_exists=alarms.exists,
            read=UriObjects(stores.data_objects(), limit=DOCUMENT_BYTES_MAX).read,
        ),
        Metrics(metrics=stores.metrics, clock=clock),
        MetricData(metrics=stores.metrics, clock=clock),
        Tags(store=store),
        TransformJobs(store=store),
        Logs(store=stores.logs, clock=clock),
        Sts(
            store=store,
            clock=clock,
            random=random,
            issue=_issuer(Home(settings.home)),
            strict_roles=settings.strict_roles,
        ),
        AsyncInvocations(
            store=store, queue=stores.async_queue, clock=clock, random=random, wake=wake_invoker
        ),
        *_iam(store, clock, random, publish_keys),
        *build_services(store=store, clock=clock, random=random),
    )


def _issuer(home: Home) -> Callable[[str, str, Principal, float], str]:
    """Makes the session token of temporary credentials."""
    seal = sealed.Seal(sealed.create_or_load_key(home.sealing_key))

    def issue(key_id: str, secret: str, principal: Principal, expires: float) -> str:
        return seal.close(
            sealed.Session(
                access_key_id=key_id, secret=secret, principal=principal, expires_at=expires
            )
        )

    return issue


def _iam(
    store: ResourceStore,
    clock: Clock,
    random: RandomSource,
    publish_keys: Callable[[], Awaitable[None]],
) -> tuple[object, ...]:
    return (
        Users(store=store, clock=clock, random=random, publish_keys=publish_keys),
        AccessKeys(store=store, random=random, publish_keys=publish_keys),
        IamRoles(store=store, clock=clock, random=random),
        Policies(store=store, clock=clock, random=random),
        Attachments(store=store),
        InlinePolicies(store=store),
        Simulation(store=store),
        Account(store=store),
    )
