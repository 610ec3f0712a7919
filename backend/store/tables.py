"""The tables, for the queries. The migrations create them; a test compares the two."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

from backend.domain.timestamps import from_database

metadata = MetaData()


class UTCDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored as naive UTC with microseconds."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the column type; MySQL stores microseconds only on request."""
        if dialect.name == "mysql":
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert an aware time to naive UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return the parser of SQLite's text; a ServerConnection has parsed it already."""
        return _read_text if dialect.name == "sqlite" else None


def _read_text(text: str | None) -> datetime | None:
    return from_database(text) if text else None


Identity = BigInteger().with_variant(Integer(), "sqlite")
# Compared byte by byte, as SQLite does anyway: Run1 and run1 are different folders.
ByteText = String(200).with_variant(
    mysql.VARCHAR(200, charset="utf8mb4", collation="utf8mb4_bin"), "mysql"
)
FoldedText = String(600).with_variant(  # an id, whose characters may become three each
    mysql.VARCHAR(600, charset="utf8mb4", collation="utf8mb4_bin"), "mysql"
)

ByteName = String(255).with_variant(  # of a file
    mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql"
)
LongText = Text().with_variant(mysql.MEDIUMTEXT(), "mysql")

experiment = Table(
    "experiment",
    metadata,
    Column("id", Identity, primary_key=True, autoincrement=True),
    Column("experiment_id", ByteText, nullable=False),
    Column("uid", String(32), nullable=False),
    Column("model", String(63), nullable=False),
    Column("learning_rate", Double, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("dataset", String(255)),
    Column("status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("job", String(63), nullable=False),
    Column("reason", String(64)),
    Column("message", Text),
    Column("remedy", Text),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    Column("started_at", UTCDateTime),
    Column("finished_at", UTCDateTime),
    Column("cancel_requested_at", UTCDateTime),
    Column("cancel_requested_by", String(64)),
    Column("delete_requested_at", UTCDateTime),
    Column("model_parameters", Text),
    Column("size", String(32)),
    Column("entry_sha256", String(64)),
    Column("image", Text),
    Column("inputs", LongText),
    Column("tags", Text),
    Column("favourite", Boolean(create_constraint=False)),
    Column("revision", Integer),
    Column("submitted_by", String(64)),
    # Not of an Experiment: what a search compares unless the id is ASCII, and whether this row has
    # its rows of the table parameter; NULL in rows of older versions until they are filled in.
    Column("folded_id", FoldedText),
    Column("is_indexed", Boolean(create_constraint=False)),
    Column("sweep_id", ByteText),
    Column("trial", Integer),
    Column("pruned_because", Text),
    Column("priority", String(8)),
    Column("peak_cpu", Double),
    Column("peak_memory", BigInteger),
    Column("peak_gpu", Double),
    Column("peak_gpu_memory", BigInteger),
    Column("nodes", Integer),
    UniqueConstraint("experiment_id", name="uq_experiment_experiment_id"),
    Index("ix_experiment_job", "job"),
    Index("ix_experiment_delete_requested_at", "delete_requested_at"),
    Index("ix_experiment_status", "status"),  # InnoDB and SQLite append the primary key
    Index("ix_experiment_created_at", "created_at"),
    Index("ix_experiment_updated_at", "updated_at"),
    Index("ix_experiment_learning_rate", "learning_rate"),
    Index("ix_experiment_epoch", "epoch"),
    Index("ix_experiment_favourite", "favourite"),
    Index("ix_experiment_is_indexed", "is_indexed"),
    Index("ix_experiment_status_created_at", "status", "created_at"),
    Index("ix_experiment_status_updated_at", "status", "updated_at"),
    Index("ix_experiment_peak_cpu", "peak_cpu"),
    Index("ix_experiment_peak_memory", "peak_memory"),
    Index("ix_experiment_peak_gpu", "peak_gpu"),
    Index("ix_experiment_peak_gpu_memory", "peak_gpu_memory"),
    Index("uq_experiment_sweep_trial", "sweep_id", "trial", unique=True),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

sweep = Table(
    "sweep",
    metadata,
    Column("id", Identity, primary_key=True, autoincrement=True),
    Column("sweep_id", ByteText, nullable=False),
    Column("uid", String(32), nullable=False),
    Column("model", String(63), nullable=False),
    Column("status", String(16), nullable=False),
    Column("trials", Integer, nullable=False),
    Column("parallel", Integer, nullable=False),
    Column("issued", Integer, nullable=False),
    Column("counted_from", Integer, nullable=False),
    Column("definition", Text, nullable=False),
    Column("reason", String(64)),
    Column("message", Text),
    Column("remedy", Text),
    Column("is_cancelling", Boolean(create_constraint=False), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    Column("finished_at", UTCDateTime),
    Column("created_by", String(64)),
    Column("delete_requested_at", UTCDateTime),
    Column("delete_outputs", Boolean(create_constraint=False), nullable=False),
    Column("analysis", Text),
    UniqueConstraint("sweep_id", name="uq_sweep_sweep_id"),
    Index("ix_sweep_status", "status"),
    Index("ix_sweep_updated_at", "updated_at"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

# The entries of the catalogue from which experiments were made, by the digest of their content.
model_entries = Table(
    "model_entries",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("content", Text, nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)


def _experiment_key(table: str) -> Column[int]:
    """Return a primary key that is an experiment's; the row goes with the experiment's."""
    name = f"fk_{table}_experiment"
    experiment_id = ForeignKey("experiment.id", name=name, ondelete="CASCADE")
    return Column("experiment", Identity, experiment_id, primary_key=True, autoincrement=False)


metric_summaries = Table(  # of one experiment, as JSON for the list
    "metric_summaries",
    metadata,
    _experiment_key("metric_summaries"),
    Column("attempt", Integer, nullable=False),
    Column("is_final", Boolean(create_constraint=False), nullable=False),
    Column("version", String(64), nullable=False),
    Column("content", Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

metric = Table(  # the same, a row for each metric, by which lists are sorted
    "metric",
    metadata,
    _experiment_key("metric"),
    Column("name", ByteText, primary_key=True),
    Column("last", Double, nullable=False),
    Column("min", Double, nullable=False),
    Column("max", Double, nullable=False),
    Index("ix_metric_last", "name", "last", "experiment"),
    Index("ix_metric_min", "name", "min", "experiment"),
    Index("ix_metric_max", "name", "max", "experiment"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

experiment_input = Table(  # the files that an experiment uses, by which lists are filtered
    "experiment_input",
    metadata,
    _experiment_key("experiment_input"),
    Column("name", ByteName, primary_key=True),
    Column("sha256", String(64)),
    Index("ix_experiment_input_name", "name", "experiment"),
    Index("ix_experiment_input_sha256", "sha256", "experiment"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

parameter = Table(  # those that have no column of their own; text of at most 200 characters
    "parameter",
    metadata,
    _experiment_key("parameter"),
    Column("name", ByteText, primary_key=True),
    Column("number", Double),
    Column("text", ByteText),
    Index("ix_parameter_number", "name", "number", "experiment"),
    Index("ix_parameter_text", "name", "text", "experiment"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

data_set = Table(  # what is known of the files of the input folder, each in one version
    "data_set",
    metadata,
    Column("name", ByteName, primary_key=True),
    Column("version", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("content", LongText),
    Column("uploaded_at", UTCDateTime),
    Column("uploaded_by", String(64)),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

tag = Table(
    "tag",
    metadata,
    _experiment_key("tag"),
    Column("name", ByteText, primary_key=True),
    Index("ix_tag_name", "name", "experiment"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

note = Table(
    "note",
    metadata,
    _experiment_key("note"),
    Column("content", Text, nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

transition = Table(
    "transition",
    metadata,
    Column("id", Identity, primary_key=True, autoincrement=True),
    Column(
        "experiment",
        Identity,
        ForeignKey("experiment.id", name="fk_transition_experiment", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("attempt", Integer, nullable=False),
    Column("from_status", String(16)),
    Column("to_status", String(16), nullable=False),
    Column("reason", String(64)),
    Column("at", UTCDateTime, nullable=False),
    Column("actor", String(64)),
    Index("ix_transition_experiment", "experiment"),
    sqlite_autoincrement=True,  # no id is used twice: listeners continue after the last one
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

webhook_target = Table(  # the last transition that was noted for each target
    "webhook_target",
    metadata,
    Column("target", String(32), primary_key=True),
    Column("last_event", Identity, nullable=False),
    Column("seen_at", UTCDateTime, nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

# What is still to be sent. Without a foreign key, because it outlives the experiment.
webhook_outbox = Table(
    "webhook_outbox",
    metadata,
    Column("target", String(32), primary_key=True),
    Column("event", Identity, primary_key=True, autoincrement=False),
    Column("experiment_id", ByteText, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("content", Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("next_at", UTCDateTime, nullable=False),
    Column("failures", Integer, nullable=False),
    Index("ix_webhook_outbox_next_at", "target", "next_at"),
    Index("ix_webhook_outbox_experiment", "target", "experiment_id", "event"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

owner = Table(  # one row
    "hello_flask_owner",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("identity", Text, nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)
