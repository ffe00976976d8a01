"""What handlers are given by name: the collaborators, and who asks."""

from typing import Any, TypeAlias

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation

from orchestrator.accounts.service import Accounts, Principal
from orchestrator.api.cookies import Cookies
from orchestrator.api.gate import Credential, Gate
from orchestrator.api.ports import AuditSource, PoolAdmin, RefusedHostSource
from orchestrator.api.settings import ApiSettings
from orchestrator.sessions.ports import Actor, ProfileCatalogue
from orchestrator.sessions.service import Sessions

SignedInRequest: TypeAlias = Request[Principal, Credential, State]
AnyRequest: TypeAlias = Request[Any, Any, State]

ASessions: TypeAlias = NamedDependency[SkipValidation[Sessions]]
AnAccounts: TypeAlias = NamedDependency[SkipValidation[Accounts]]
TheJar: TypeAlias = NamedDependency[SkipValidation[Cookies]]
TheAudit: TypeAlias = NamedDependency[SkipValidation[AuditSource]]
TheRefusedHosts: TypeAlias = NamedDependency[SkipValidation[RefusedHostSource]]
APools: TypeAlias = NamedDependency[SkipValidation[PoolAdmin]]
ACatalogue: TypeAlias = NamedDependency[SkipValidation[ProfileCatalogue]]
TheSettings: TypeAlias = NamedDependency[SkipValidation[ApiSettings]]
TheActor: TypeAlias = NamedDependency[SkipValidation[Actor]]
TheGate: TypeAlias = NamedDependency[SkipValidation[Gate]]
ThePublicUrl: TypeAlias = NamedDependency[SkipValidation[str]]
ThePrincipal: TypeAlias = NamedDependency[SkipValidation[Principal]]


def provided(value: object) -> Provide:
    """The same object, each time."""

    def provide() -> object:
        return value

    return Provide(provide, sync_to_thread=False)


def principal_of(request: SignedInRequest) -> Principal:
    return request.user


def actor_of(request: SignedInRequest) -> Actor:
    return as_actor(request.user)


def as_actor(principal: Principal) -> Actor:
    return Actor(id=principal.user, name=principal.name, is_admin=principal.role == "admin")


def per_request() -> dict[str, Provide]:
    return {
        "principal": Provide(principal_of, sync_to_thread=False),
        "actor": Provide(actor_of, sync_to_thread=False),
    }
