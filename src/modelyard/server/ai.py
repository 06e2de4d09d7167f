"""What the AI services are built of: the packs, the models that the platform hosts for itself, and the façades over them."""

import asyncio

from modelyard.ai.catalogue import Catalogue
from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Settings
from modelyard.server.data_plane import LocalDataPlane
from modelyard.server.lex import Archives, LexRuntime, models_api
from modelyard.server.presigning import presigner
from modelyard.services.comprehend.classifiers import Classifiers
from modelyard.services.comprehend.custom_models import CustomModels
from modelyard.services.comprehend.detection import Detection
from modelyard.services.comprehend.job_operations import DetectionJobs
from modelyard.services.comprehend.job_runner import JobRunner
from modelyard.services.comprehend.jobs import Jobs
from modelyard.services.comprehend.model_endpoints import ModelEndpoints
from modelyard.services.comprehend.recognisers import Recognisers
from modelyard.services.comprehend.tags import ComprehendTags
from modelyard.services.cost_explorer import CostExplorer
from modelyard.services.hosted_models import HostedModels
from modelyard.services.job_objects import Objects
from modelyard.services.lex.built_models import BuiltModels
from modelyard.services.metering import Metering, read_prices
from modelyard.services.own_bucket import OWNER, Shelf
from modelyard.services.sagemaker.resources import Roles
from modelyard.services.translate.documents import Documents
from modelyard.services.translate.job_runner import TextTranslationRunner
from modelyard.services.translate.jobs import TranslationJobs
from modelyard.services.translate.terminologies import Terminologies
from modelyard.services.translate.translation import Translation
from modelyard.services.translate.translator import Translator
from modelyard.store.resources import ResourceStore
from modelyard.store.usage import UsageStore


class AiServices:
    """Of one control process. A new service adds its façade to ``facades``."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        settings: Settings,
        clock: Clock,
        random: RandomSource,
        objects: Objects,
        shelf: Shelf,
    ) -> None:
        """``objects`` are where users' data lies; ``shelf`` is the platform's own."""
        home = Home(settings.home)
        self._data_plane = LocalDataPlane(
            home=home, limits=settings.limits, clock=clock, random=random
        )
        self.models = HostedModels(
            store=store,
            catalogue=Catalogue(home.packs),
            data_plane=self._data_plane,
            clock=clock,
        )
        self._usage = UsageStore(home.usage_database)
        self.metering = Metering(usage=self._usage, clock=clock)
        roles = Roles(store=store, strict=settings.strict_roles)
        self._custom = CustomModels(store=store, models=self.models)
        self.bots = BuiltModels(store=store, models=self.models)
        self._lex = LexRuntime(
            store=store,
            settings=settings,
            models=self.bots,
            metering=self.metering,
            clock=clock,
            random=random,
        )
        jobs = Jobs(store=store, clock=clock, random=random, roles=roles)
        self._runner = JobRunner(
            store=store,
            objects=objects,
            models=self.models,
            custom=self._custom,
            metering=self.metering,
            clock=clock,
            scratch=home.root,
        )
        terminologies = Terminologies(
            store=store,
            shelf=shelf,
            locate=presigner(settings, account=OWNER, clock=clock, random=random),
        )
        translator = Translator(models=self.models, terminologies=terminologies)
        self._translations = TextTranslationRunner(
            store=store,
            objects=objects,
            translator=translator,
            metering=self.metering,
            clock=clock,
            scratch=home.root,
        )
        self.facades: tuple[object, ...] = (
            Translation(translator=translator, metering=self.metering),
            Documents(translator=translator, metering=self.metering),
            TranslationJobs(store=store, roles=roles, translator=translator),
            terminologies,
            DetectionJobs(jobs=jobs, custom=self._custom),
            Classifiers(store=store, random=random, roles=roles, models=self.models),
            Recognisers(store=store, random=random, roles=roles, models=self.models),
            ModelEndpoints(store=store, roles=roles, models=self._custom, metering=self.metering),
            ComprehendTags(store=store, custom=self._custom),
            Detection(models=self.models, custom=self._custom, metering=self.metering),
            *models_api(
                store=store,
                clock=clock,
                random=random,
                roles=roles,
                archives=Archives(shelf=shelf, settings=settings),
            ),
            self._lex.facade,
            CostExplorer(usage=self._usage, prices=lambda: read_prices(home.prices), clock=clock),
        )

    async def run(self) -> None:
        """What has to run while the process does."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._data_plane.run(), name="ai.data-plane")
                tasks.create_task(self._custom.resume(), name="ai.custom-models")
                tasks.create_task(self.bots.run(), name="ai.bots")
                tasks.create_task(self._runner.run(), name="ai.comprehend-jobs")
                tasks.create_task(self._translations.run(), name="ai.translate-jobs")
        finally:
            await self._lex.stop()

    def clear(self) -> None:
        """Forget what was used."""
        self._usage.clear()
        self._lex.clear()

    def close(self) -> None:
        """After ``run`` has ended."""
        self._usage.close()
        self._lex.close()
