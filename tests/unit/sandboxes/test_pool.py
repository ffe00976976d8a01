import asyncio

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.sandboxes.errors import BadPoolSize
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.settings import PoolSettings
from orchestrator.sessions.errors import NoSandboxFree, ShuttingDown, UnknownProfile

IGNORE = lambda place: None  # noqa: E731


def view(pool):
    return pool.pools()[0]


async def claim(pool, session="s", on_place=IGNORE):
    return await pool.claim("default", session=session, on_place=on_place)


async def test_keeps_the_minimum_ready(pools, launcher, until):
    """A pool fills itself to its minimum and refills after each claim."""
    pool = await pools(minimum=2, maximum=5)
    await until(lambda: view(pool).ready == 2)
    await claim(pool)
    await until(lambda: view(pool).ready == 2)
    assert view(pool).claimed == 1


async def test_a_refill_waits_while_others_are_ready(pools, launcher, until):
    """A claim leaves the machine to the claimed one, until a pause is over or nothing is ready."""
    pool = await pools(minimum=2, maximum=5, refill_pause=60.0)
    await until(lambda: view(pool).ready == 2)
    await claim(pool)
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert (view(pool).ready, view(pool).starting) == (1, 0)
    await claim(pool, "second")
    await until(lambda: view(pool).ready == 2)


async def test_a_hit_needs_no_turn_of_the_loop(pools, until):
    """A claim on a ready pool is served before anything else runs."""
    pool = await pools(minimum=1)
    await until(lambda: view(pool).ready == 1)
    coroutine = claim(pool)
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    assert done.value.value.session == "s"
    assert view(pool).counters["hits"] == 1


async def test_ceiling_and_start_cap(pools, launcher, until):
    """Many claims at once never make more than the maximum, nor start more at once than the cap."""
    pool = await pools(minimum=2, maximum=6, start_cap=2)

    async def use(n):
        member = await claim(pool, f"s{n}")
        await asyncio.sleep(0)
        await member.destroy()
        return member.id

    used = await asyncio.gather(*(use(n) for n in range(20)))
    assert len(set(used)) == 20
    assert launcher.most_starting <= 2
    assert launcher.most_alive <= 6


async def test_fair(pools, launcher, until):
    """Those who wait are served in the order in which they came, and know their place."""
    launcher.gate.clear()
    pool = await pools(minimum=0, maximum=1)
    served, places = [], {n: [] for n in range(3)}

    async def wait(n):
        member = await claim(pool, f"s{n}", places[n].append)
        served.append(n)
        await member.destroy()

    tasks = []
    for n in range(3):
        tasks.append(asyncio.create_task(wait(n)))
        await until(lambda n=n: view(pool).waiting == n + 1)
    launcher.gate.set()
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2]
    assert places == {0: [1], 1: [2, 1], 2: [3, 2, 1]}


async def test_a_waiter_who_leaves(pools, launcher, until):
    """A cancelled claim leaves the queue and those behind it move up."""
    launcher.gate.clear()
    pool = await pools(minimum=0, maximum=1)
    first = asyncio.create_task(claim(pool, "s1"))
    await until(lambda: view(pool).waiting == 1)
    places = []
    second = asyncio.create_task(claim(pool, "s2", places.append))
    await until(lambda: places == [2])
    first.cancel()
    await until(lambda: places == [2, 1])
    launcher.gate.set()
    assert (await second).session == "s2"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_cancelled_in_the_moment_of_being_served(pools, launcher, until):
    """A sandbox that was meant for a claim cancelled meanwhile goes to the next, untouched."""
    pool = await pools(minimum=0, maximum=1)
    holder = await claim(pool, "holder")
    first = asyncio.create_task(claim(pool, "s1"))
    served_first = lambda place: place == 1 and first.cancel()  # noqa: E731
    second = asyncio.create_task(claim(pool, "s2", served_first))
    await until(lambda: view(pool).waiting == 2)
    await holder.destroy()
    member = await second
    assert member.session == "s2"
    assert view(pool).claimed == 1


async def test_died_on_its_way(pools, launcher, until):
    """A sandbox that dies in the moment of being handed over is not: its waiter gets the next."""
    pool = await pools(minimum=0, maximum=1)
    holder = await claim(pool, "holder")
    first = asyncio.create_task(claim(pool, "s1"))
    places = []

    def spoil(place):
        places.append(place)
        if places == [2, 1]:
            launcher.made[-1].die()

    second = asyncio.create_task(claim(pool, "s2", spoil))
    await until(lambda: view(pool).waiting == 2)
    await holder.destroy()
    member = await first
    assert (member.session, member.alive) == ("s1", True)
    await member.destroy()
    assert (await second).session == "s2"


async def test_waits_only_so_long(pools, launcher):
    """A claim that waited too long fails with a time to come back, and is no longer counted."""
    launcher.gate.clear()
    pool = await pools(minimum=0, maximum=1, wait_limit=0.02)
    with pytest.raises(NoSandboxFree) as refused:
        await claim(pool)
    assert 1 <= refused.value.retry_after <= 120
    assert view(pool).waiting == 0


async def test_full_queue(pools, launcher, until):
    """When the queue is full the next claim fails at once."""
    launcher.gate.clear()
    pool = await pools(minimum=0, maximum=1, queue_bound=1)
    waiting = asyncio.create_task(claim(pool))
    await until(lambda: view(pool).waiting == 1)
    with pytest.raises(NoSandboxFree):
        await claim(pool)
    launcher.gate.set()
    await waiting
    assert view(pool).counters["refusals"] == 1


async def test_dead_members_are_passed_over(pools, launcher, until):
    """A claim never gets a dead sandbox: it is thrown away and the next one taken."""
    pool = await pools(minimum=2, maximum=4)
    await until(lambda: view(pool).ready == 2)
    launcher.made[0].alive = False
    member = await claim(pool)
    assert member is launcher.made[1]
    await until(lambda: launcher.made[0] not in launcher.living)
    await until(lambda: view(pool).ready == 2)


async def test_a_death_while_ready_is_refilled(pools, launcher, until):
    """A ready sandbox that dies is counted and replaced."""
    pool = await pools(minimum=1)
    await until(lambda: view(pool).ready == 1)
    launcher.made[0].die()
    await until(lambda: view(pool).counters["deaths"] == 1 and view(pool).ready == 1)
    assert (await claim(pool)) is launcher.made[1]


async def test_old_ones_are_replaced_in_the_background(pools, launcher, until):
    """Aged sandboxes are replaced without going below the minimum while there is room."""
    pool = await pools(minimum=1, maximum=3, max_age=0.1)
    await until(lambda: view(pool).ready == 1)
    first = launcher.made[0]
    await until(lambda: first not in launcher.living)
    assert len(launcher.living) >= 1
    assert (await claim(pool)) is not first


async def test_another_version(pools, launcher, until, monkeypatch):
    """When the image changes, sandboxes of the old one are replaced and never claimed again."""
    monkeypatch.setattr("orchestrator.sandboxes.profile_pool.LOOK_REST", 0.0)
    pool = await pools(minimum=1, maximum=1)
    await until(lambda: view(pool).ready == 1)
    launcher.current = "sha256:2"
    await until(lambda: view(pool).ready == 1 and view(pool).image_version == "sha256:2")
    assert (await claim(pool)).version == "sha256:2"


async def test_an_edited_profile(pools, launcher, catalogue, profile, until):
    """When a profile was edited, no sandbox of the old recipe is handed out any more."""
    pool = await pools(minimum=1, maximum=2)
    await until(lambda: view(pool).ready == 1)
    catalogue.known["default"] = msgspec.structs.replace(profile, title="New")
    assert (await claim(pool)).profile.title == "New"


async def test_failures_back_off(pools, launcher, start_failed, until):
    """A start that fails is told, rests, and is tried again until it works."""
    launcher.failure = start_failed
    pool = await pools(minimum=1, backoff_first=0.03, backoff_most=0.03)
    await until(lambda: view(pool).last_error is not None)
    assert view(pool).last_error == start_failed.sentence
    assert view(pool).last_output == ["no"]
    await asyncio.sleep(0.3)
    assert 2 <= launcher.attempts <= 40
    launcher.failure = None
    await until(lambda: view(pool).ready == 1)
    assert view(pool).retry_in == 0


async def test_unforeseen_failures_rest_too(pools, launcher, until):
    """An error that nobody foresaw is told and rests like any other, instead of looping."""
    launcher.failure = KeyError("Labels")
    pool = await pools(minimum=1, backoff_first=0.05, backoff_most=0.05)
    await until(lambda: view(pool).last_error is not None)
    await asyncio.sleep(0.2)
    assert launcher.attempts < 20
    launcher.failure = None
    await until(lambda: view(pool).ready == 1)


async def test_waiters_survive_failures(pools, launcher, start_failed, until):
    """A claim that waits while starts fail is served by the first that works."""
    launcher.failure = start_failed
    pool = await pools(minimum=0)
    waiting = asyncio.create_task(claim(pool))
    await until(lambda: view(pool).counters["failures"] > 0)
    launcher.failure = None
    assert (await waiting).session == "s"


async def test_resized_live(pools, launcher, until):
    """A new size takes effect at once, upwards and downwards, and leaves claimed ones alone."""
    pool = await pools(minimum=1, maximum=2)
    await until(lambda: view(pool).ready == 1)
    member = await claim(pool)
    await pool.resize("default", minimum=3, maximum=5)
    await until(lambda: view(pool).ready == 3)
    await pool.resize("default", minimum=0, maximum=1)
    await until(lambda: view(pool).ready == 0 and view(pool).leaving == 0)
    assert member in launcher.living


@pytest.mark.parametrize(("low", "high"), [(-1, 2), (3, 2), (0, 61)])
async def test_impossible_sizes(pools, low, high):
    """Sizes out of order or past the host's ceiling are refused with a sentence."""
    pool = await pools()
    with pytest.raises(BadPoolSize, match="not possible"):
        await pool.resize("default", minimum=low, maximum=high)


async def test_unknown_profile(pools):
    """There is no claim on a profile that there is not."""
    pool = await pools()
    with pytest.raises(UnknownProfile):
        await pool.claim("nope", session="s", on_place=IGNORE)


async def test_a_callback_that_fails(pools, launcher, until):
    """A waiter whose callback raises harms nobody else."""
    launcher.gate.clear()
    pool = await pools(minimum=0, maximum=2)

    def explode(place):
        raise RuntimeError

    claims = [asyncio.create_task(claim(pool, f"s{n}", explode)) for n in range(2)]
    await until(lambda: view(pool).waiting == 2)
    launcher.gate.set()
    assert {member.session for member in await asyncio.gather(*claims)} == {"s0", "s1"}


async def test_closing(pools, launcher, until):
    """Closing sends those who wait away, destroys every sandbox and takes no more claims."""
    pool = await pools(minimum=0, maximum=1)
    await claim(pool, "s0")
    waiting = asyncio.create_task(claim(pool, "s1"))
    await until(lambda: view(pool).waiting == 1)
    await pool.__aexit__(None, None, None)
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await claim(pool, "s2")
    assert launcher.living == []
    assert launcher.swept == [False, True]


async def test_a_slow_goodbye_holds_its_room(pools, launcher, until):
    """A sandbox on its way out counts towards the ceiling until it is gone."""
    pool = await pools(minimum=1, maximum=1)
    member = await claim(pool)
    member.destroyable.clear()
    leaving = asyncio.create_task(member.destroy())
    next_claim = asyncio.create_task(claim(pool, "s2"))
    await asyncio.sleep(0.1)
    assert not next_claim.done()
    member.destroyable.set()
    assert (await next_claim).session == "s2"
    await leaving


async def test_host_ceiling(catalogue, launcher, profile, until):
    """All profiles together stay below the host's ceiling."""
    other = msgspec.structs.replace(profile, name="other")
    catalogue.known["other"] = other
    settings = PoolSettings(minimum=3, maximum=5, host_maximum=4, tick=0.02)
    async with Pool(catalogue=catalogue, launcher=launcher, settings=settings) as pool:
        await until(lambda: sum(one.ready for one in pool.pools()) == 4)
        await asyncio.sleep(0.05)
        assert launcher.most_alive <= 4


steps = st.lists(
    st.one_of(
        st.just("claim"),
        st.just("cancel"),
        st.just("release"),
        st.just("kill"),
        st.just("fail"),
        st.tuples(st.integers(0, 3), st.integers(0, 3)),
    ),
    max_size=25,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
def test_any_sequence(steps, launcher_type, catalogue, start_failed):  # noqa: C901 - a small world
    """Whatever is claimed, cancelled, released, killed and resized: no sandbox serves twice, the
    ceiling holds, and at the end nothing is left and nobody waits."""

    async def run(launcher_type):
        launcher = launcher_type()
        settings = PoolSettings(
            minimum=1, maximum=3, tick=0.01, backoff_first=0.001, backoff_most=0.001
        )
        pool = Pool(catalogue=catalogue, launcher=launcher, settings=settings)
        claims = []
        async with pool:
            for step in steps:
                await follow(step, pool, launcher, claims)
                await asyncio.sleep(0.001)
            launcher.failure = None
            await pool.resize("default", minimum=0, maximum=3)
            for task in claims:
                if not task.done():
                    task.cancel()
            await asyncio.gather(*claims, return_exceptions=True)
            assert view(pool).waiting == 0
        assert launcher.living == []
        assert launcher.most_alive <= 6

    async def follow(step, pool, launcher, claims):
        match step:
            case "claim":
                claims.append(asyncio.create_task(claim(pool, f"s{len(claims)}")))
            case "cancel" if claims:
                claims[-1].cancel()
            case "release" | "kill":
                for member in launcher.living[:1]:
                    await member.destroy() if step == "release" else member.die()
            case "fail":
                launcher.failure = None if launcher.failure else start_failed
            case (low, extra):
                await pool.resize("default", minimum=low, maximum=low + extra)

    asyncio.run(run(launcher_type))
