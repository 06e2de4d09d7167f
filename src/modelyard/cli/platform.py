"""Which platform a command speaks to, and a client for each of its services.

botocore is imported by what calls it: half of what a command takes to begin, and ``down`` has no need of it.
"""

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.base.settings import Home, Settings, default_home
from modelyard.server import supervisor
from modelyard.store.external_s3 import ExternalS3

if TYPE_CHECKING:
    from botocore.session import Session

OWN_SERVICE = "modelyard"
"""Signing name of the platform's own calls."""


class CommandFailed(Exception):
    """A command cannot do what was asked; ``hint`` is what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The platform's first access key."""

    access_key_id: str
    secret_access_key: str
    account: str


@dataclass(frozen=True)
class Platform:
    """A running platform, as a client sees it."""

    home: Home
    settings: Settings
    credentials: Credentials
    region: str

    @property
    def url(self) -> str:
        host = supervisor.reachable(self.settings.host)
        return replace(self.settings, host=host).url

    def environment(self) -> dict[str, str]:
        """What makes any AWS client speak to this platform."""
        variables = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,  # read by the SDKs other than Python's
        }
        if self.settings.tls_cert is not None:
            variables["AWS_CA_BUNDLE"] = str(self.settings.tls_cert)
        return variables

    @functools.cached_property
    def _session(self) -> "Session":
        from botocore.session import Session

        return Session()

    def client(self, service: str, **config: Any) -> Any:
        """A botocore client; it retries what AWS's clients retry. Of S3: the one that holds the models.

        ``config`` is that of ``botocore.config.Config``.
        """
        from botocore.config import Config

        external = ExternalS3.load(self.home.external_s3) if service == "s3" else None
        if external is not None:
            from modelyard.store.external_objects import client_of

            return client_of(external, self._session)
        return self._session.create_client(
            service,
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=self.credentials.access_key_id,
            aws_secret_access_key=self.credentials.secret_access_key,
            verify=str(self.settings.tls_cert) if self.settings.tls_cert else None,
            config=Config(**{"retries": {"mode": "standard"}, **config}),
        )

    def own_call(self, method: str, path: str) -> bytes:
        """A signed call of the platform's own (``/_modelyard/…``), which no AWS service has."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials as SigningKeys
        from botocore.httpsession import URLLib3Session

        keys = SigningKeys(self.credentials.access_key_id, self.credentials.secret_access_key)
        request = AWSRequest(method=method, url=self.url + path, data=b"")
        SigV4Auth(keys, OWN_SERVICE, self.region).add_auth(request)
        verify = str(self.settings.tls_cert) if self.settings.tls_cert else True
        answer = URLLib3Session(verify=verify).send(request.prepare())
        if answer.status_code >= 400:
            raise CommandFailed(answer.text)
        content: bytes = answer.content
        return content


def connect(home: Path | None = None, *, region: str | None = None) -> Platform:
    """The platform that runs on ``home``. Raises ``CommandFailed`` when none does."""
    root = Home(home or default_home())
    if supervisor.running_pid(root) is None:
        raise CommandFailed(
            f"No platform is running on {root.root}.", "Start one: modelyard up --detach"
        )
    return describe(root, region=region)


def describe(home: Home, *, region: str | None = None) -> Platform:
    """The platform of a home, whether it runs or not. Raises ``CommandFailed`` for a home never used."""
    try:
        settings = Settings.from_json(home.settings.read_bytes())
        stored = json.loads(home.credentials.read_text())
    except FileNotFoundError as error:
        raise CommandFailed(
            f"{home.root} is no platform's home yet.", "Start one: modelyard up --detach"
        ) from error
    credentials = Credentials(
        access_key_id=stored["access_key_id"],
        secret_access_key=stored["secret_access_key"],
        account=stored["account"],
    )
    return Platform(
        home=home,
        settings=settings,
        credentials=credentials,
        region=region or settings.region,
    )
