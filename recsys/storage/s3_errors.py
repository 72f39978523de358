"""What boto3 raises, in the words of ``recsys.errors``."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from recsys.errors import (
    AccessDenied,
    IntegrityError,
    ObjectChanged,
    ObjectNotFound,
    OutcomeUnknown,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_NEVER_CONNECTED = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_BROKE = (BotoConnectionError, HTTPClientError, IncompleteReadError)
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_REJECTED = {"SlowDown", "ServiceUnavailable", "TooManyRequests", "Throttling", "RequestLimitExceeded"}
_REJECTED |= {"429", "503"}


def translate(error: ClientError | BotoCoreError, what: str) -> StoreError:
    """Return the error to raise instead; ``what`` names the object or the bucket.

    StoreUnavailable means that the last attempt surely changed nothing, OutcomeUnknown that it may have.
    """
    if isinstance(error, ClientError):
        return _from_answer(error, what)
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDenied(f"{what}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile")
    if isinstance(error, _NEVER_CONNECTED):
        return StoreUnavailable(f"{what}: {error}; check AWS_ENDPOINT_URL and that the server runs")
    if isinstance(error, _BROKE):
        return OutcomeUnknown(f"{what}: the connection broke: {error}")
    return StoreError(f"{what}: {error}")


def _from_answer(error: ClientError, what: str) -> StoreError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return StoreError(f"{what}: the bucket does not exist; create it or correct the store's URI")
    if status == 404:
        return ObjectNotFound(f"{what} does not exist")
    if status in (409, 412):
        return ObjectChanged(f"{what} was written by somebody else")
    if code == "RequestTimeTooSkewed":
        return AccessDenied(f"{what}: this machine's clock differs too much from the server's; set the clock")
    if status in (401, 403):
        return AccessDenied(f"{what}: {code or status}; check the AWS credentials and the bucket's policy")
    if code in _FULL or status == 507:
        return StoreFull(f"{what}: the server has no space left ({code}); run recsys registry gc")
    if code in _DAMAGED:
        return IntegrityError(f"{what}: the server received other bytes than were sent ({code}); run again")
    if code in _REJECTED or status == 429:
        return StoreUnavailable(f"{what}: the server is overloaded ({code}); try later")
    if status >= 500:
        return OutcomeUnknown(f"{what}: the server failed with {status} {code}")
    return StoreError(f"{what}: {error}")
