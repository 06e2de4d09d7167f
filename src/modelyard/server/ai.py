"""What the AI services are built of: the packs, the models that the platform hosts for itself, and the façades over them."""

from modelyard.ai.catalogue import Catalogue
from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Limits
from modelyard.server.data_plane import LocalDataPlane
from modelyard.services.comprehend.detection import Detection
from modelyard.services.cost_explorer import CostExplorer
from modelyard.services.hosted_models import HostedModels
from modelyard.services.metering import Metering, read_prices
from modelyard.store.resources import ResourceStore
from modelyard.store.usage import UsageStore


class AiServices:
    """Of one control process. A new service adds its façade to ``facades``."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        home: Home,
        limits: Limits,
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self._data_plane = LocalDataPlane(home=home, limits=limits, clock=clock, random=random)
        self.models = HostedModels(
            store=store,
            catalogue=Catalogue(home.packs),
            data_plane=self._data_plane,
            clock=clock,
        )
        self._usage = UsageStore(home.usage_database)
        self.metering = Metering(usage=self._usage, clock=clock)
        self.facades: tuple[object, ...] = (
            Detection(models=self.models, metering=self.metering),
            CostExplorer(usage=self._usage, prices=lambda: read_prices(home.prices), clock=clock),
        )

    async def run(self) -> None:
        """What has to run while the process does."""
        await self._data_plane.run()

    def clear(self) -> None:
        """Forget what was used."""
        self._usage.clear()

    def close(self) -> None:
        """After ``run`` has ended."""
        self._usage.close()
