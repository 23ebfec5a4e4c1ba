"""Who may sign in and how, read from the TOML file that AUTH_CONFIG names; without one, local accounts alone.

All problems are listed at once, by dotted name, as settings.py does for the environment.
"""

from __future__ import annotations

import enum
import importlib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from cyberlab.auth.base import BackendContext, PasswordBackend, RedirectBackend
from cyberlab.auth.local import LocalBackend
from cyberlab.blocking import BlockingPool
from cyberlab.db.models import Role
from cyberlab.db.users import LOCAL
from cyberlab.settings import SettingsError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_DAY = 86_400.0
_ASKING_THREADS, _ASKERS = 8, 64  # of one directory: they wait for the network, and who else may queue
M = TypeVar("M", bound=BaseModel)
# Beside "local" and "module:Class": the module, its options, its class. Imported only where one is configured.
KINDS = {
    "ldap": ("cyberlab.auth.ldap", "LdapOptions", "LdapBackend"),
    "oidc": ("cyberlab.auth.oidc", "OidcOptions", "OidcBackend"),
    "cas": ("cyberlab.auth.cas", "CasOptions", "CasBackend"),
    "proxy": ("cyberlab.auth.proxy", "ProxyOptions", "ProxyBackend"),
}


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and dashes, 64 at most")
    return value


class Policy(enum.StrEnum):
    """What a role's second factor is."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class SecondFactor(BaseModel):
    """The policy per role, and its two times."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    student: Policy = Policy.OPTIONAL
    teacher: Policy = Policy.OPTIONAL
    admin: Policy = Policy.OPTIONAL
    grace_days: float = Field(0, ge=0, le=366)
    remember_days: float = Field(30, ge=0, le=366)

    def policy(self, role: Role) -> Policy:
        """The policy for that role."""
        return {Role.STUDENT: self.student, Role.TEACHER: self.teacher, Role.ADMIN: self.admin}[role]

    @property
    def remember_seconds(self) -> float:
        """How long a device is remembered; 0: never."""
        return self.remember_days * _DAY


class GroupMapping(BaseModel):
    """What a backend's groups mean here. Names of groups are compared without regard to case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    required_groups: tuple[str, ...] = ()
    roles: dict[str, Role] = Field(default_factory=dict)
    default_role: Role = Role.STUDENT
    classes: dict[str, str] = Field(default_factory=dict)
    create_users: bool = True


class BackendConfig(BaseModel):
    """What every kind of backend has; ``options`` are the kind's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Annotated[str, AfterValidator(_name)]
    kind: str
    label: str = ""
    hidden: bool = False
    mapping: GroupMapping = GroupMapping()
    options: Any = None


_STRANGERS = GroupMapping(create_users=False)


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Everything that the file says."""

    backends: tuple[BackendConfig, ...] = (BackendConfig(name=LOCAL, kind=LOCAL),)
    second_factor: SecondFactor = field(default_factory=SecondFactor)

    def mapping(self, backend: str) -> GroupMapping:
        """The mapping of that backend; one that is not configured makes nobody a user."""
        return next((item.mapping for item in self.backends if item.name == backend), _STRANGERS)


@dataclass(frozen=True, slots=True)
class Backends:
    """The configured backends, made, in the order of the file."""

    config: AuthConfig = field(default_factory=AuthConfig)
    password: tuple[PasswordBackend, ...] = ()
    redirect: tuple[RedirectBackend, ...] = ()
    proxy: tuple[Any, ...] = ()
    pools: Mapping[str, BlockingPool] = field(default_factory=dict)  # where directories are asked, by name

    def close(self) -> None:
        """Let go of what the backends hold open (blocking)."""
        for pool in self.pools.values():
            pool.close()
        for backend in (*self.password, *self.redirect, *self.proxy):
            close = getattr(backend, "close", None)
            if close is not None:
                close()


def load(path: Path | None) -> AuthConfig:
    """Read the file; None: local accounts alone. Raise SettingsError with every problem at once."""
    if path is None:
        return AuthConfig()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"AUTH_CONFIG: {path} cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"AUTH_CONFIG: {path} is no TOML: {error}"]) from None
    return parse(content)


def parse(content: Mapping[str, Any]) -> AuthConfig:
    """Check what stood in the file; raise SettingsError with every problem at once."""
    found: list[str] = []
    rest = dict(content)
    second_factor = _validated(SecondFactor, rest.pop("second_factor", {}), "second_factor", found)
    entries = rest.pop("backend", None)
    found += [f"AUTH_CONFIG: {name}: there is no such setting" for name in rest]
    if entries is None:
        entries = [{"name": LOCAL, "kind": LOCAL}]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        found.append("AUTH_CONFIG: backend: must be tables, each under a line [[backend]]")
        entries = []
    backends = [_backend(entry, number, found) for number, entry in enumerate(entries, start=1)]
    names = [backend.name for backend in backends if backend is not None]
    found += [f"AUTH_CONFIG: backend.{name}: the name is given twice" for name in names if names.count(name) > 1]
    if found or second_factor is None:
        raise SettingsError(list(dict.fromkeys(found)))
    return AuthConfig(tuple(backend for backend in backends if backend is not None), second_factor)


def build(config: AuthConfig, context: BackendContext) -> Backends:
    """Make the backends; nothing connects yet."""
    password: list[PasswordBackend] = []
    redirect: list[RedirectBackend] = []
    proxy: list[Any] = []
    pools: dict[str, BlockingPool] = {}
    for item in config.backends:
        if item.kind == LOCAL:
            password.append(LocalBackend(context.database, context.settings.bcrypt_cost))
            continue
        backend = _class(item.kind)(item.name, item.options, context)
        if hasattr(backend, "authenticate"):
            password.append(backend)
            # Each has its own, so that one that hangs holds up neither local accounts nor the next directory.
            pools[item.name] = BlockingPool(item.name, _ASKING_THREADS, waiting=_ASKERS)
        elif hasattr(backend, "begin"):
            redirect.append(backend)
        else:
            proxy.append(backend)
    return Backends(config, tuple(password), tuple(redirect), tuple(proxy), pools)


def _class(kind: str) -> Callable[[str, Any, BackendContext], Any]:
    if kind in KINDS:
        module, _, name = KINDS[kind]
    else:
        module, _, name = kind.partition(":")
    return cast("Callable[[str, Any, BackendContext], Any]", getattr(importlib.import_module(module), name))


def _backend(entry: dict[str, Any], number: int, found: list[str]) -> BackendConfig | None:
    where = f"backend.{entry.get('name', number)}"
    common = {name: entry[name] for name in ("name", "kind", "label", "hidden", "mapping") if name in entry}
    config = _validated(BackendConfig, common, where, found)
    if config is None:
        return None
    rest = {name: value for name, value in entry.items() if name not in common}
    if (config.kind == LOCAL) != (config.name == LOCAL):
        found.append(f'AUTH_CONFIG: {where}.name: "local" is the name of the kind "local", and of no other')
        return None
    if config.kind == LOCAL:
        found += [f"AUTH_CONFIG: {where}.{name}: there is no such setting" for name in rest]
        return config
    options = _options(config, rest, where, found)
    return config.model_copy(update={"options": options})


def _options(config: BackendConfig, rest: dict[str, Any], where: str, found: list[str]) -> Any:
    """The kind's own options, checked by its model; a third party's class gets a dict and checks it itself."""
    if config.kind not in KINDS:
        if not re.fullmatch(r"[\w.]+:\w+", config.kind):
            kinds = ", ".join((LOCAL, *KINDS))
            found.append(f"AUTH_CONFIG: {where}.kind: must be one of {kinds}, or package.module:Class")
            return None
        try:
            _class(config.kind)
        except (ImportError, AttributeError) as error:
            found.append(f"AUTH_CONFIG: {where}.kind: cannot be imported: {error}")
        return _secrets_read(rest, frozenset(), where, found) | {"label": config.label}
    module, name, _ = KINDS[config.kind]
    try:
        model: type[BaseModel] = getattr(importlib.import_module(module), name)
    except ImportError as error:  # a library that only this kind needs
        found.append(f"AUTH_CONFIG: {where}.kind: cannot be imported: {error}")
        return None
    fields = frozenset(model.model_fields)
    found += [
        f"AUTH_CONFIG: {where}.{key}: secrets do not stand in the file; use {key}_env or {key}_file"
        for key in rest
        if key in fields and "SecretStr" in str(model.model_fields[key].annotation)
    ]
    if "label" in fields:
        rest = rest | {"label": config.label or config.name}
    return _validated(model, _secrets_read(rest, fields, where, found), where, found)


def _secrets_read(rest: dict[str, Any], fields: frozenset[str], where: str, found: list[str]) -> dict[str, Any]:
    """Replace ``x_env`` and ``x_file`` by ``x``, unless the model has a field of the longer name itself."""
    options: dict[str, Any] = {}
    for key, value in rest.items():
        plain, _, source = key.rpartition("_")
        if key in fields or source not in ("env", "file") or (fields and plain not in fields):
            options[key] = value
        elif source == "env":
            if str(value) in os.environ:
                options[plain] = SecretStr(os.environ[str(value)])
            else:
                found.append(f"AUTH_CONFIG: {where}.{key}: there is no environment variable {value}")
        else:
            try:
                options[plain] = SecretStr(Path(str(value)).read_text(encoding="utf-8").rstrip("\r\n"))
            except (OSError, UnicodeDecodeError):
                found.append(f"AUTH_CONFIG: {where}.{key}: {value} cannot be read")
    return options


def _validated(model: type[M], content: Any, where: str, found: list[str]) -> M | None:
    """The content as that model, or its problems, by dotted name and never with the value."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False):
            name = ".".join([where, *(str(part) for part in item["loc"])])
            words = "there is no such setting" if item["type"] == "extra_forbidden" else item["msg"]
            found.append(f"AUTH_CONFIG: {name}: {words.removeprefix('Value error, ')}")
        return None
