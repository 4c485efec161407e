"""The names under which exceptions travel: in headers of dead letters, ledger rows and fingerprints.

A name here never changes once released: operators filter by it, and a fingerprint that changes splits one failure into
two.
"""

import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import schemas
import streams
from streams.observability.error_text import type_name

NAMES = (
    "schemas.avro_type.BadSchemaError",
    "schemas.registry.RegistryError",
    "schemas.registry.RegistryUnavailableError",
    "streams.codec.DecodeError",
    "streams.codec.PayloadElsewhereError",
    "streams.codec.SchemaMissingError",
    "streams.codec.SealedError",
    "streams.codec.TicketError",
    "streams.database.DatabaseNotMigratedError",
    "streams.database.DatabaseUnavailableError",
    "streams.delivery.BrokenTransactionError",
    "streams.delivery.CancelledError",
    "streams.delivery.ComputeCrashedError",
    "streams.delivery.ExpiredError",
    "streams.delivery.LeaseLostError",
    "streams.delivery.OutOfMemoryError",
    "streams.delivery.Permanent",
    "streams.delivery.ProcessExitError",
    "streams.delivery.ProcessorTimeExceededError",
    "streams.delivery.ResourceBusyError",
    "streams.delivery.Retry",
    "streams.delivery.SoftTimeLimitExceeded",
    "streams.delivery.TimeLimitExceeded",
    "streams.delivery.UnaskedCancellationError",
    "streams.delivery.Unavailable",
    "streams.dify.errors.BillingAwayError",
    "streams.dify.errors.BusyError",
    "streams.dify.errors.ChatAwayError",
    "streams.dify.errors.ContentRefusedError",
    "streams.dify.errors.CreditsMissingError",
    "streams.dify.errors.EmbeddingAwayError",
    "streams.dify.errors.EmbeddingError",
    "streams.dify.errors.ExtractionError",
    "streams.dify.errors.ForeignTenantError",
    "streams.dify.errors.IndexChangedError",
    "streams.dify.errors.LeftBehindError",
    "streams.dify.errors.MailAwayError",
    "streams.dify.errors.MailServiceError",
    "streams.dify.errors.MarketplaceAwayError",
    "streams.dify.errors.NoAnswerError",
    "streams.dify.errors.NotBuiltYetError",
    "streams.dify.errors.PipelineDocumentError",
    "streams.dify.errors.PipelinesAwayError",
    "streams.dify.errors.PluginDaemonAwayError",
    "streams.dify.errors.RedisAwayError",
    "streams.dify.errors.RefusedError",
    "streams.dify.errors.RefusedTextError",
    "streams.dify.errors.ReplyDisabled",
    "streams.dify.errors.RowMissingError",
    "streams.dify.errors.ServiceError",
    "streams.dify.errors.Stopped",
    "streams.dify.errors.TidbAwayError",
    "streams.dify.errors.UnavailableError",
    "streams.dify.errors.UnusableVectorError",
    "streams.dify.errors.UploadFileMissingError",
    "streams.dify.errors.VectorStoreError",
    "streams.dify.http.AnswerError",
    "streams.publishing.BadEventError",
    "streams.publishing.BridgeError",
    "streams.publishing.PublishError",
    "streams.publishing.bridges.pipeline_blueprint.Refused",
    "streams.publishing.bridges.platform_pipelines.RunFailedError",
    "streams.schema_registry.IncompatibleSchemaError",
    "streams.schema_registry.SchemaNotFetchedError",
    "streams.schedules.ScheduleError",
    "streams.settings.SettingsError",
    "streams.storage.FileMissingError",
    "streams.storage.StorageAwayError",
    "streams.storage.StorageKeyError",
    "streams.topics.UnknownEventError",
    "streams.transport.BrokersUnreachableError",
    "streams.transport.NotSupportedError",
    "streams.transport.ProduceError",
    "streams.transport.StartError",
    "streams.transport.TransportError",
)
"""Each is a path from which the class can be imported."""
STAY_IN_THEIR_PROCESS = (
    "streams.cli.",
    "streams.local.",
    "streams.operations.",
    "streams.runtime.",
    "streams.database.migrations.",
    "streams.delivery.execution.",
    "streams.delivery.errors.",
    "streams.delivery.runners.",
    "streams.delivery.settlement.",
    "streams.codec.avro_",
    "streams.schema_registry.export.",
    "streams.publishing.outbox.",
)
"""Prefixes of exceptions that end a command or a step of the engine, and are in no record."""


@pytest.mark.requirement(
    "Source tree and packaging",
    "exceptions carry their public import path, in headers, ledger rows and fingerprints",
)
@pytest.mark.parametrize("name", NAMES)
def test_an_exception_is_found_under_the_name_that_travels(name: str) -> None:
    """The class that the name leads to says the same name of itself, so it also comes back from another process."""
    module, _, class_name = name.rpartition(".")
    found = getattr(importlib.import_module(module), class_name)

    assert type_name(found.__new__(found)) == name
    assert pickle.loads(pickle.dumps(found)) is found  # noqa: S301 - made in the line itself


@pytest.mark.requirement(
    "Source tree and packaging",
    "exceptions carry their public import path, in headers, ledger rows and fingerprints",
)
def test_every_exception_of_the_packages_is_listed() -> None:
    """A new one is added to `NAMES` with a public path, or stays in its process."""
    found = {type_name(kind.__new__(kind)) for kind in _exceptions()}

    assert found - set(NAMES) == {name for name in found if name.startswith(STAY_IN_THEIR_PROCESS)}


def _exceptions() -> Iterator[type[BaseException]]:
    for package in (streams, schemas):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "versions" in module.name or module.name.endswith((".env", "__main__")):
                continue  # Alembic's scripts run inside of a migration only
            for value in vars(importlib.import_module(module.name)).values():
                ours = inspect.isclass(value) and value.__module__.partition(".")[0] in {"streams", "schemas"}
                if ours and issubclass(value, BaseException):
                    yield value
