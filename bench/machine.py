"""The machine and the versions of the software with which the figures were taken."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import pymysql
from kubernetes import client, config
from sqlalchemy import make_url

from tests.integration.databases import LabMySQL

PACKAGES = (
    "flask",
    "apiflask",
    "gunicorn",
    "sqlalchemy",
    "pymysql",
    "kubernetes",
    "orjson",
    "torch",
)


def machine() -> str:
    """Return a description of the machine."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model[1] if model else platform.machine()
    return f"{os.cpu_count()} cores ({name}), {memory:.0f} GiB, Linux {platform.release()}."


def versions() -> str:
    """Return a list of versions, including MySQL and Kubernetes if they are available."""
    found = [f"Python {platform.python_version()}"]
    found += [f"{name} {version(name)}" for name in PACKAGES]
    if "LAB" in os.environ:
        found.append(f"MySQL {mysql_version(LabMySQL(os.environ['LAB']).database.url)}")
    if "KUBECONFIG" in os.environ:
        config.load_kube_config()
        found.append(f"Kubernetes {client.VersionApi().get_code().git_version.lstrip('v')}")
    return ", ".join(found) + "."


def mysql_version(url: str) -> str:
    """Return the version of a MySQL server."""
    where = make_url(url)
    with (
        pymysql.connect(
            host=where.host,
            port=where.port or 3306,
            user=where.username,
            password=str(where.password),
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT VERSION()")
        (row,) = cursor.fetchall()
        return str(row[0])
