"""What this Casemate is, what it offers, and how it is."""

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from orchestrator.api.dependencies import ACatalogue
from orchestrator.api.documented import problems
from orchestrator.api.ports import HealthSource, MetricsSource
from orchestrator.api.views import About, HealthView, LifetimesView, ProfileView
from orchestrator.sessions.ports import ProfileCatalogue
from orchestrator.sessions.profiles import Profile


class Edition(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say about this installation."""

    version: str
    scripted_model: bool = False
    notices: tuple[str, ...] = ()
    """Sentences for everybody, beside the one about the scripted model."""


SCRIPTED = "No model key is set: answers come from a script, not from Claude."


@get("/about", name="about", responses=problems(), tags=["about"])
async def about(edition: NamedDependency[SkipValidation[Edition]], catalogue: ACatalogue) -> About:
    """The version, where answers come from, and the profiles."""
    first = (SCRIPTED,) if edition.scripted_model else ()
    return About(
        version=edition.version,
        model="scripted" if edition.scripted_model else "real",
        notices=[*first, *edition.notices],
        profiles=_profiles(catalogue),
    )


@get("/profiles", name="list_profiles", responses=problems(), tags=["about"])
async def list_profiles(catalogue: ACatalogue) -> list[ProfileView]:
    """The recipes that a session can be started with; the first one is the default."""
    return _profiles(catalogue)


@get("/health/live", name="health_live", tags=["health"], include_in_schema=True)
async def health_live() -> HealthView:
    """The process answers. No more than that: a restart would help no other trouble."""
    return HealthView(status="ok")


@get("/health/ready", name="health_ready", tags=["health"])
async def health_ready(
    health: NamedDependency[SkipValidation[HealthSource]],
) -> Response[HealthView]:
    """Sessions can be started; 503 with what is wrong where they cannot. `degraded` is 200: what is
    wrong then is not Casemate's own."""
    view = msgspec.convert(await health.health(), HealthView, from_attributes=True)
    return Response(view, status_code=503 if view.status == "failed" else 200)


@get("/metrics", name="metrics", include_in_schema=False)
async def metrics(figures: NamedDependency[SkipValidation[MetricsSource]]) -> Response[bytes]:
    """For Prometheus, with the metrics token or a signed-in operator's."""
    exposition, content_type = figures.render()
    kind = content_type.removesuffix("; charset=utf-8")  # which the framework adds to any text
    return Response(exposition, media_type=kind)


def about_router() -> Router:
    return Router(path="/", route_handlers=[about, list_profiles])


def _profiles(catalogue: ProfileCatalogue) -> list[ProfileView]:
    return [_profile_view(profile) for profile in catalogue.profiles()]


def _profile_view(profile: Profile) -> ProfileView:
    return ProfileView(
        name=profile.name,
        title=profile.title,
        description=profile.description,
        model=profile.agent.model,
        models=list(profile.models),
        permission_mode=profile.agent.permission_mode,
        lifetimes=msgspec.convert(profile.lifetimes, LifetimesView, from_attributes=True),
        unfinished=profile.unfinished,
        checkpoints_kept=profile.checkpoints.keep,
    )
