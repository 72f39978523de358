"""Every error of train-cf, in one tree.

RecsysError
 +-- ConfigError                 exit 2: a setting, option or configuration file is wrong
 +-- DataError                   exit 3
 |    +-- RawDataError           raw files cannot be read as the schema says
 |    +-- EmptyDataError         a step left nothing; names the filter that emptied it
 |    +-- DataValidationError    a data version is damaged; carries every finding
 |    |    +-- NewerSchema       it was written by newer code, and this code cannot tell whether it is
 |    +-- DataVersionNotFound    no such data version
 |    +-- LatestMoved            an append to the latest version was overtaken every time: retry makes sense
 +-- StoreError                  exit 4
 |    +-- ObjectNotFound         no object under that key
 |    +-- ObjectExists           create-once found the key taken
 |    +-- ObjectChanged          compare-and-swap lost the race (retry after reading again)
 |    +-- StoreUnavailable       refused, reset, timed out, 5xx: retry makes sense
 |    +-- OutcomeUnknown         the write may or may not have happened; read back before deciding
 |    +-- AccessDenied           credentials or policy; a retry changes nothing
 |    +-- StoreFull              no space left
 |    +-- UnsupportedStore       the server does not honour create-once writes
 |    +-- IntegrityError         bytes read are not the bytes written
 +-- RegistryError               exit 4
 |    +-- ModelNotFound          no such model
 |    +-- ChampionChanged        somebody else promoted between decision and commit
 |    +-- ProtectedModel         refused: the model carries an alias or is in use
 +-- EngineError                 exit 5: an engine beyond this process (Spark) failed
 |    +-- EngineUnavailable      its cluster cannot be reached or lost its workers: retry makes sense
 +-- RecallTooLow                exit 5: approximate lists miss too many items of the exact ones
 +-- TrainingError               exit 5
      +-- DivergedError          NaN, exploding norm, rising loss; says what to change
      +-- NotEnoughMemory        predicted need exceeds what is free; says the options
      +-- DeviceUnavailable      a GPU was demanded and is not usable
      +-- TrainingCancelled      somebody asked the fit to stop
      +-- TrainingTimeout        the fit took longer than the configuration allows
      +-- WorkerLost             the process that trained on another worker vanished: retry makes sense

Every class takes its arguments positionally, so that instances survive pickling between processes, and
says in ``retryable`` whether trying again can help. Messages say what, where and what to do next.
"""


class RecsysError(Exception):
    """Base of all errors that train-cf raises on purpose."""

    retryable: bool = False
    exit_code: int = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class ConfigError(RecsysError):
    """A setting, option or configuration file is wrong."""

    exit_code = 2


class DataError(RecsysError):
    """Something is wrong with the shop's data or a data version."""

    exit_code = 3


class RawDataError(DataError):
    """Raw files cannot be read as the schema says."""


class EmptyDataError(DataError):
    """A preparation step left no rows; the message names the filter that emptied it."""


class DataVersionNotFound(DataError):
    """No data version of that name exists in the store."""


class LatestMoved(DataError):
    """The latest data version, which an append continues, is another one now; the pointer was left alone."""

    retryable = True


class DataValidationError(DataError):
    """A data version is damaged; ``findings`` holds every problem, not just the first."""

    def __init__(self, message: str = "", findings: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.args = (message, findings)
        self.findings = tuple(findings)


class NewerSchema(DataValidationError):
    """Newer code wrote the data version: nothing says that it is damaged, but this code cannot read it."""


class StoreError(RecsysError):
    """Reading or writing an object failed."""

    exit_code = 4


class ObjectNotFound(StoreError):
    """No object lives under that key."""


class ObjectExists(StoreError):
    """A create-once write found the key taken; the object there is untouched."""


class ObjectChanged(StoreError):
    """A compare-and-swap lost the race; read again and decide anew."""


class StoreUnavailable(StoreError):
    """The store did not answer or answered 5xx; nothing was written."""

    retryable = True


class OutcomeUnknown(StoreError):
    """The connection broke after the request was sent; read back to learn whether it was written."""

    retryable = True


class AccessDenied(StoreError):
    """Credentials or policy forbid the request; a retry changes nothing."""


class StoreFull(StoreError):
    """No space is left where the store lives."""


class UnsupportedStore(StoreError):
    """The server does not honour create-once writes, so a registry on it could lose updates."""


class IntegrityError(StoreError):
    """Bytes read are not the bytes that were written: their SHA-256 differs from the manifest."""


class RegistryError(RecsysError):
    """The registry refuses an operation."""

    exit_code = 4


class ModelNotFound(RegistryError):
    """No model of that id or alias is registered."""


class ChampionChanged(RegistryError):
    """Another run promoted between this run's decision and its commit."""


class ProtectedModel(RegistryError):
    """Refused: the model carries an alias, or a run still uses it."""


class EngineError(RecsysError):
    """An engine beyond this process, such as a Spark cluster, failed at its work."""

    exit_code = 5


class EngineUnavailable(EngineError):
    """The cluster of an engine cannot be reached, or lost its workers in the middle."""

    retryable = True


class RecallTooLow(RecsysError):
    """Approximate lists miss more items of the exact ones than the configuration allows; nothing was published."""

    exit_code = 5


class TrainingError(RecsysError):
    """A fit failed."""

    exit_code = 5


class DivergedError(TrainingError):
    """The optimisation diverged; the message says what was seen and what to change."""


class NotEnoughMemory(TrainingError):
    """The predicted need of a stage exceeds the memory that is free."""


class DeviceUnavailable(TrainingError):
    """A GPU was demanded and is not usable."""


class TrainingCancelled(TrainingError):
    """The fit was asked to stop."""


class TrainingTimeout(TrainingError):
    """The fit took longer than ``runtime.timeout_minutes``; its last checkpoint is kept."""


class WorkerLost(TrainingError):
    """The process that trained on another worker vanished; its last checkpoint is kept."""

    retryable = True
