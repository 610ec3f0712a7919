"""The answers of the metrics API. Pure; nothing in an answer is taken for granted."""

import json
from collections.abc import Collection
from typing import Any

from backend.domain.execution.quantities import parse_quantity
from backend.domain.execution.usage import Usage, read_usage


def usage_by_job(content: bytes, handles: Collection[str]) -> dict[str, Usage]:
    """Return what the pods of a PodMetricsList use, by the name of their Job.

    Pods of other Jobs, and what is no valid pod, are left out.

    Raises:
        ValueError: it is no list.
    """
    try:
        items = json.loads(content)["items"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("it is no list of pods") from None
    wanted, totals = frozenset(handles), dict[str, list[Usage]]()
    for item in items if isinstance(items, list) else ():
        job = _job_of(item)
        if job in wanted:
            totals.setdefault(job, []).extend(map(_of_container, _list(item, "containers")))
    return {job: _sum(parts) for job, parts in totals.items() if parts}


def _job_of(item: Any) -> str:
    """Return the name of a pod's Job, "" if it has none.

    An older metrics-server leaves out the labels; a pod is named after its Job.
    """
    metadata = _dict(item, "metadata")
    label = _dict(metadata, "labels").get("job-name")
    return str(label or str(metadata.get("name", "")).rpartition("-")[0])


def _of_container(container: Any) -> Usage:
    used = _dict(container, "usage")
    known = {name: parse_quantity(used.get(name)) for name in ("cpu", "memory")}
    return read_usage(known)


def _sum(parts: list[Usage]) -> Usage:
    cpu = [part.cpu for part in parts if part.cpu is not None]
    memory = [part.memory for part in parts if part.memory is not None]
    return read_usage(
        {"cpu": round(sum(cpu), 3) if cpu else None, "memory": sum(memory) if memory else None}
    )


def _dict(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _list(value: Any, name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []
