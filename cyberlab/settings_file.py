"""Several clusters in one TOML file (CLUSTERS_CONFIG); every problem at once, by the name that stands in the file.

Keys are the settings' names without PROXMOX_, in lower case, and `name` for PROXMOX_CLUSTER. A secret stands there
itself, or is referred to: ``password_file``, ``password_env``.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cyberlab.settings_cluster import ClusterSettings, SettingsError, at_home

_SECRETS = ("password", "token_value")
_OF_A_NODE = ("host", "ssh_host", "ssh_port", "ssh_host_key", "tls_fingerprint")
_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PATHS = ("ssh_key_path", "ssh_known_hosts", "tls_ca_file")


class _Listed(ClusterSettings):
    """A cluster of the file: what stands in the environment is another one's."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but the file."""
        return (init_settings,)


def read(path: Path) -> tuple[ClusterSettings, ...]:
    """The clusters of the file; raise SettingsError with every problem at once, and no value of a secret in any."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"CLUSTERS_CONFIG: {path} cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"CLUSTERS_CONFIG: {path} is no TOML: {error}"]) from None
    found = [f"{key}: unknown; clusters stand in [[cluster]]" for key in content if key != "cluster"]
    tables = content.get("cluster", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        found.append("cluster: missing; each cluster is a [[cluster]] with name, host, ssh_host, …")
        tables = []
    made, names = [], set()
    for number, table in enumerate(tables, 1):
        name = str(table.get("name", ""))
        where = f"cluster {name or number}"
        if name in names:
            found.append(f"{where}: name: stands there twice; machines are told apart by it")
        names.add(name)
        cluster, problems = _cluster(dict(table), path.parent)
        found += [f"{where}: {line}" for line in problems]
        if cluster is not None:
            made.append(cluster)
    if found:
        raise SettingsError([f"CLUSTERS_CONFIG: {line}" for line in found])
    return tuple(made)


def _cluster(table: dict[str, Any], folder: Path) -> tuple[ClusterSettings | None, list[str]]:
    found: list[str] = []
    nodes = table.pop("node", [])
    if "cluster" in table:
        found.append("cluster: unknown; its name is called name")
        del table["cluster"]
    if not table.get("name"):
        found.append('name: missing; the first half of a machine\'s name here, e.g. name = "campus" for campus/100')
    table["cluster"] = table.pop("name", "") or "unnamed"
    _resolve_secrets(table, folder, found)
    for key in _PATHS:
        if isinstance(table.get(key), str):
            table[key] = folder / at_home(Path(table[key]))  # an absolute one stays
    if nodes and (beside := [key for key in ("host", "ssh_host") if key in table]):
        found.append(f"{' and '.join(beside)}: stand in each [[cluster.node]], or here without any node")
        for key in beside:
            del table[key]
    try:
        cluster = _Listed(**table)
    except ValidationError as error:
        return None, found + _lines(error)
    if nodes:
        changes = _nodes(nodes, found)
        if not changes:
            return None, found
        cluster_with = cluster.with_nodes(changes)
        return cluster_with, found + [_in_the_file(line) for line in cluster_with.problems()]
    return cluster, found + [_in_the_file(line) for line in cluster.problems()]


def _nodes(tables: Any, found: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Each node's name and what differs; validated as the cluster's own fields are."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        found.append("node: must be tables: [[cluster.node]] with name, host, ssh_host")
        return []
    made: list[tuple[str, dict[str, Any]]] = []
    for number, table in enumerate(tables, 1):
        name = str(table.get("name", ""))
        where = f"node {name or number}"
        if not _NODE.fullmatch(name):
            found.append(f"{where}: name: must be the node's name in Proxmox, as `pvecm nodes` shows it")
        elif name in [other for other, _ in made]:
            found.append(f"{where}: name: stands there twice")
        changes = {key: value for key, value in table.items() if key != "name"}
        for key in [key for key in changes if key not in _OF_A_NODE]:
            del changes[key]
            found.append(f"{where}: {key}: unknown; a node has name, {', '.join(_OF_A_NODE)}")
        try:
            valid = _Listed(cluster="x", **changes)
        except ValidationError as error:
            found += [f"{where}: {line}" for line in _lines(error)]
            valid = _Listed(cluster="x")
        made.append((name, {key: getattr(valid, key) for key in changes}))
    return made


def _resolve_secrets(table: dict[str, Any], folder: Path, found: list[str]) -> None:
    for key in _SECRETS:
        ways = [name for name in (key, f"{key}_file", f"{key}_env") if name in table]
        if len(ways) > 1:
            found.append(f"{' and '.join(ways)}: one of them is enough")
        file, variable = table.pop(f"{key}_file", None), table.pop(f"{key}_env", None)
        if file is not None:
            try:
                table[key] = (folder / str(file)).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is no text"
                found.append(f"{key}_file: {folder / str(file)} cannot be read: {reason}")
        elif variable is not None:
            table[key] = os.environ.get(str(variable), "")
            if not table[key]:
                found.append(f"{key}_env: the environment has no {variable}")


def _lines(error: ValidationError) -> list[str]:
    """One line per bad value, without the value."""
    found = []
    for item in error.errors(include_url=False, include_input=False):
        key = str(item["loc"][0]) if item["loc"] else ""
        message = item["msg"].removeprefix("Value error, ")
        found.append(f"{'name' if key == 'cluster' else key}: {'unknown' if 'extra' in item['type'] else message}")
    return found


def _in_the_file(line: str) -> str:
    """A problem with the names that stand in the file instead of the environment's."""
    return re.sub(r"PROXMOX_([A-Z_]+)", lambda match: match[1].lower(), line)
