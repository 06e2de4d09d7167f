"""Addresses of the platform's own objects, from which whoever has one can fetch them for a while: S3's presigned URLs."""

from collections.abc import Callable

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from modelyard.base.call import Principal
from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource, access_key_id, secret_access_key
from modelyard.base.settings import Home, Settings
from modelyard.server.supervisor import reachable
from modelyard.wire import sealed

SECONDS = 1_800


def presigner(
    settings: Settings, *, account: str, clock: Clock, random: RandomSource, method: str = "GET"
) -> Callable[[str, str], str]:
    """Makes an address of an object, good to read it, or to PUT it, for ``SECONDS``; its bucket belongs to ``account``."""
    seal = sealed.Seal(sealed.create_or_load_key(Home(settings.home).sealing_key))
    principal = Principal(
        kind="role", arn=f"arn:aws:iam::{account}:role/presigner", id=account, account=account
    )

    def presigned(bucket: str, key: str) -> str:
        key_id, secret = access_key_id(random, prefix="ASIA"), secret_access_key(random)
        session = sealed.Session(
            access_key_id=key_id,
            secret=secret,
            principal=principal,
            expires_at=clock.now() + SECONDS,
        )
        credentials = Credentials(key_id, secret, seal.close(session))
        request = AWSRequest(method=method, url=f"{_url(settings)}/{bucket}/{key}")
        S3SigV4QueryAuth(credentials, "s3", settings.region, expires=SECONDS).add_auth(request)
        return str(request.url)

    return presigned


def _url(settings: Settings) -> str:
    return settings.url.replace(settings.host, reachable(settings.host), 1)
