"""What the API takes and gives, as pydantic models: they check requests and make the OpenAPI document."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from cyberlab.console.registry import LiveConsole
from cyberlab.db.models import Assignment, Group, MembershipRole, Role, User, Vm, VmKind
from cyberlab.db.page import MAX_LIMIT, Page
from cyberlab.db.rows import MAX_ID
from cyberlab.handlers.operations import Act, Operation, Phase

T = TypeVar("T")


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("no NUL characters")
    return text


def _plausible(moment: datetime) -> datetime:
    """In UTC; far from the ends of the calendar, where converting it would fail."""
    if not 1970 <= moment.year <= 9000:
        raise ValueError("a year from 1970 to 9000")
    return moment.astimezone(UTC)


# The patterns say in the document what the validators check.
_YEARS = {"pattern": "^(19[7-9][0-9]|[2-8][0-9]{3})-"}
_NO_NUL = {"pattern": "^[^\\u0000]*$"}
Moment = Annotated[AwareDatetime, AfterValidator(_plausible), Field(json_schema_extra=_YEARS)]
Line = Annotated[str, Field(max_length=255, json_schema_extra=_NO_NUL), AfterValidator(_no_nul)]
Name = Annotated[str, Field(min_length=1, max_length=255, json_schema_extra=_NO_NUL), AfterValidator(_no_nul)]
RowId = Annotated[int, Field(ge=1, le=MAX_ID)]


class Given(BaseModel):
    """What a request brings: unknown fields are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class Listing(Given):
    """Which part of a list."""

    q: Annotated[str, Field(max_length=200, description="every word has to be found")] = ""
    offset: Annotated[int, Field(ge=0, le=MAX_ID)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50


class Paged(BaseModel, Generic[T]):
    """One part of a list; ``total``: how many there are in all."""

    items: list[T]
    total: int
    offset: int
    limit: int

    @classmethod
    def of(cls, page: Page[Any], items: list[T]) -> Paged[T]:
        """The database's page, with its rows as the API gives them."""
        return cls(items=items, total=page.total, offset=page.offset, limit=page.limit)


class Me(BaseModel):
    """Whose token this is."""

    id: int
    username: str
    display_name: str
    role: Role
    scopes: list[str]


class UserOut(BaseModel):
    """A user."""

    id: int
    backend: str
    username: str
    display_name: str
    email: str | None
    role: Role
    active: bool
    created_at: Moment
    last_login_at: Moment | None
    version: int

    @classmethod
    def of(cls, row: User) -> UserOut:
        """From the row."""
        return cls.model_validate(row, from_attributes=True)


class UserListing(Listing):
    """Which users."""

    role: Role | None = None


class NewUser(Given):
    """A user to be: of a directory, claimed by their first sign-in, or a local one."""

    username: Name
    role: Role = Role.STUDENT
    display_name: Line = ""
    email: Line | None = None
    backend: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,63}$")] = "local"
    password: Annotated[Line | None, Field(description="for local users; a weak one is refused")] = None


class UserChange(Given):
    """What is to be different; what is left out stays. ``version``: as it was read, or null to overwrite."""

    role: Role | None = None
    display_name: Line | None = None
    email: Line | None = None
    active: bool | None = None
    version: RowId | None = None


class ClassOut(BaseModel):
    """A class."""

    id: int
    name: str
    archived_at: Moment | None
    created_at: Moment
    version: int

    @classmethod
    def of(cls, row: Group) -> ClassOut:
        """From the row."""
        return cls.model_validate(row, from_attributes=True)


class NewClass(Given):
    """A class to be."""

    name: Name


class ClassListing(Listing):
    """Which classes."""

    archived: Annotated[bool, Field(description="the archived ones instead of the others")] = False


class ClassChange(Given):
    """What is to be different; archiving takes the machines from everybody at once, bringing back gives them again."""

    name: Name | None = None
    archived: bool | None = None
    version: RowId | None = None


class MemberOut(BaseModel):
    """Somebody in a class."""

    class_id: int
    user_id: int
    role: MembershipRole


class MemberLine(MemberOut):
    """Somebody in a class, with their name."""

    username: str
    display_name: str
    granted_by: str = Field(description="the backend whose groups say so; empty: by hand")


class Membership(Given):
    """What somebody is to be in a class."""

    role: MembershipRole = MembershipRole.STUDENT


class MachineOut(BaseModel):
    """A machine, as the inventory said last."""

    id: int
    cluster: str
    vmid: int
    kind: VmKind
    node: str
    name: str
    status: str
    pool: str
    tags: list[str]
    reset_snapshot: str
    vanished_at: Moment | None

    @classmethod
    def of(cls, row: Vm) -> MachineOut:
        """From the row."""
        told = {name: getattr(row, name) for name in cls.model_fields if name != "tags"}
        return cls(**told, tags=[tag for tag in row.tags.split(";") if tag])


class MachineListing(Listing):
    """Which machines."""

    cluster: Annotated[str | None, Field(max_length=32)] = None


class PowerAct(enum.StrEnum):
    """What can be done to a machine's power."""

    START = Act.START.value
    SHUTDOWN = Act.SHUTDOWN.value
    REBOOT = Act.REBOOT.value
    STOP = Act.STOP.value


class Power(Given):
    """What is to be done."""

    act: PowerAct


class OperationOut(BaseModel):
    """Something that is being done to a machine, or has been."""

    id: int
    machine_id: int
    act: Act
    snapshot: str
    phase: Phase
    problem: str | None = Field(description="what went wrong, in words")
    begun_at: datetime

    @classmethod
    def of(cls, operation: Operation) -> OperationOut:
        """As it is now."""
        return cls(
            id=operation.id,
            machine_id=operation.vm.id,
            act=operation.act,
            snapshot=operation.snapshot,
            phase=operation.phase,
            problem=operation.problem.advice.title if operation.problem else None,
            begun_at=operation.begun_at,
        )


class AssignmentOut(BaseModel):
    """A machine given to a user or to a class."""

    id: int
    machine_id: int
    user_id: int | None
    class_id: int | None
    for_class_id: int | None = Field(description="the class for whose sake the user has it")
    starts_at: Moment | None
    ends_at: Moment | None
    power: bool
    reset: bool
    version: int

    @classmethod
    def of(cls, row: Assignment) -> AssignmentOut:
        """From the row."""
        return cls(
            id=row.id,
            machine_id=row.vm_id,
            user_id=row.user_id,
            class_id=row.group_id,
            for_class_id=row.via_group_id,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            power=row.can_power,
            reset=row.can_reset,
            version=row.version,
        )


class NewAssignment(Given):
    """A machine to give to a user (perhaps for a class's sake) or to a class."""

    machine_id: RowId
    user_id: RowId | None = None
    class_id: RowId | None = None
    for_class_id: RowId | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    power: bool = False
    reset: bool = False


class AssignmentBatch(Given):
    """Many at once: all of them, or none."""

    assignments: Annotated[list[NewAssignment], Field(min_length=1, max_length=1000)]


class AssignmentsOut(BaseModel):
    """Several; those that were made stand in the order in which they were sent."""

    items: list[AssignmentOut]


class AssignmentChange(Given):
    """What is to be different; what is left out stays. ``version``: as it was read, or null to overwrite."""

    starts_at: Moment | None = None
    ends_at: Moment | None = None
    power: bool | None = None
    reset: bool | None = None
    version: RowId | None = None


class ConsoleOut(BaseModel):
    """A console that is open now."""

    id: int
    user_id: int
    username: str
    machine_id: int
    machine: str
    since: Moment
    as_teacher: bool
    view_only: bool
    wall: bool

    @classmethod
    def of(cls, live: LiveConsole) -> ConsoleOut:
        """From the registry's entry."""
        asked = live.request
        return cls(
            id=live.id,
            user_id=asked.user_id,
            username=asked.username,
            machine_id=asked.vm_id,
            machine=asked.vm_label,
            since=live.started_at,
            as_teacher=asked.as_teacher,
            view_only=asked.view_only,
            wall=asked.wall,
        )


class ConsolesOut(BaseModel):
    """The consoles that are open now."""

    items: list[ConsoleOut]
