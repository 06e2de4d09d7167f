"""What control reconciles with: where processes run, a reconciler for each kind of resource, the loop that calls them."""

from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Settings, zone_names
from modelyard.control.alarms import AlarmReconciler, Measured, Ringing
from modelyard.control.bot_builds import KIND as BOT_BUILD
from modelyard.control.bot_builds import BotBuildReconciler
from modelyard.control.endpoints import EndpointReconciler
from modelyard.control.fleets import Fleets
from modelyard.control.garbage import GarbageCollector
from modelyard.control.hibernation import Activity, Wakes
from modelyard.control.keys import KeyPublisher
from modelyard.control.ledgers import BookReader
from modelyard.control.loop import GARBAGE, Loop, Reconciler
from modelyard.control.pre_traffic import Trials
from modelyard.control.processes import Processes
from modelyard.control.rollout_watch import CheckMeter, RolloutWatch
from modelyard.control.routes import RoutePublisher, last_published
from modelyard.control.scaling import ScalingReconciler
from modelyard.control.scaling_alarms import PolicyAlarms
from modelyard.control.shelves import Shelves
from modelyard.control.text_training import KINDS as TRAINED
from modelyard.control.text_training import TextTrainingReconciler
from modelyard.control.transform_jobs import TransformJobReconciler
from modelyard.runtimes.addresses import worker_address
from modelyard.runtimes.engines import Engines
from modelyard.runtimes.images import LocalImages
from modelyard.runtimes.local import LocalRuntime
from modelyard.runtimes.zones import ZonedRuntime
from modelyard.server.scaling import EndpointCapacity, watch
from modelyard.server.stores import Stores
from modelyard.server.trial_plane import ReplicaTrials
from modelyard.services.sagemaker.endpoints import Endpoints
from modelyard.store.alarms import ALARM
from modelyard.store.published import Publisher
from modelyard.store.resources import Key
from modelyard.store.scaling import TARGET


class Reconciling:
    """Of one control process. A new kind of resource adds its reconciler to ``_reconcilers``."""

    def __init__(
        self,
        settings: Settings,
        *,
        stores: Stores,
        keys: KeyPublisher,
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._home = home = Home(settings.home)
        self._stores = stores
        self._clock = clock
        self._random = random
        self._runtime = _runtime(settings, home, clock)
        self.processes = Processes(self._runtime)
        self.routes = RoutePublisher(
            Publisher(home.run, "routes"), initial=last_published(home.run)
        )
        self._fleets = Fleets(
            objects=stores.readable_objects(),
            home=home,
            limits=settings.limits,
            address_of=lambda process_id: worker_address(home, process_id),
            trusted_imports=settings.trusted_imports,
            programs=LocalImages(home.images).all,
            find_engine=Engines().find,
        )
        self.shelves = Shelves(
            store=stores.resources, fleets=self._fleets, metrics=stores.metrics, clock=clock
        )
        self.trial_plane = ReplicaTrials(limits=settings.limits, clock=clock)
        self._trials = Trials(plane=self.trial_plane, clock=clock, wake=self._wake)
        self.activity = Activity(clock)
        scaling = self._scaling()
        self.loop = Loop(
            store=stores.resources,
            processes=self.processes,
            reconcilers=self._reconcilers(scaling),
            clock=clock,
            random=random,
        )
        watch(stores.resources, scaling, self.loop.wake)
        self.wakes = Wakes(
            activity=self.activity,
            exists=lambda key: stores.resources.get(key) is not None,
            wake=self.loop.hurry,
        )
        if isinstance(self._runtime, ZonedRuntime):
            self._runtime.subscribe(self._wake_endpoints)

    @property
    def zones_up(self) -> tuple[str, ...]:
        """Those whose host answered last; none where there is one host."""
        return self._runtime.zones_up() if isinstance(self._runtime, ZonedRuntime) else ()

    async def close(self) -> None:
        """After the loop has ended."""
        await self._trials.close()
        await self._runtime.close()

    def _reconcilers(self, scaling: ScalingReconciler) -> dict[str, Reconciler]:
        store, metrics, processes = self._stores.resources, self._stores.metrics, self.processes
        home, limits, clock = self._home, self._settings.limits, self._clock
        training = TextTrainingReconciler(store=store, processes=processes, clock=clock, home=home)
        return {
            "endpoint": EndpointReconciler(
                store=store,
                processes=processes,
                routes=self.routes,
                fleets=self._fleets,
                clock=clock,
                limits=limits,
                watch=RolloutWatch(
                    clock,
                    alarms=Ringing(store, metrics, clock),
                    meter=CheckMeter(metrics, clock),
                    tests=self._trials,
                ),
                activity=self.activity,
                books=BookReader(home.ledgers),
                zones=lambda: self.zones_up,
            ),
            "transform-job": TransformJobReconciler(
                store=store,
                processes=processes,
                fleets=self._fleets,
                clock=clock,
                home=home,
                limits=limits,
                logs=self._stores.logs,
            ),
            **dict.fromkeys(TRAINED, training),
            BOT_BUILD: BotBuildReconciler(store=store, processes=processes, home=home),
            TARGET: scaling,
            ALARM: AlarmReconciler(store=store, metrics=metrics, clock=clock),
            GARBAGE.kind: GarbageCollector(
                store=store,
                processes=processes,
                routes=self.routes,
                keys=self._keys,
                clock=clock,
                home=home,
                limits=limits,
            ),
        }

    def _scaling(self) -> ScalingReconciler:
        store, clock = self._stores.resources, self._clock
        return ScalingReconciler(
            store=store,
            alarms=PolicyAlarms(
                store=store, metrics=Measured(self._stores.metrics, clock), clock=clock
            ),
            capacity=EndpointCapacity(
                endpoints=Endpoints(store=store, clock=clock), clock=clock, random=self._random
            ),
            clock=clock,
        )

    def _wake(self, key: Key) -> None:
        self.loop.wake(key)

    def _wake_endpoints(self) -> None:
        """A zone went away or came back: where replicas belong is another question now."""
        for endpoint in self._stores.resources.list("endpoint"):
            self.loop.wake(endpoint.key)


def _runtime(settings: Settings, home: Home, clock: Clock) -> LocalRuntime | ZonedRuntime:
    """The one host, or one of each zone."""
    zones = zone_names(settings.zones)
    if len(zones) == 1:
        return LocalRuntime(home.socket("host"))
    return ZonedRuntime({zone: home.zone(zone) for zone in zones}, clock=clock)
