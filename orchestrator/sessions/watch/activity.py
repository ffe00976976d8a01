"""Since when a session does what it does, and how full its sandbox is: what `watch` decides by.

Pure: the time is given with each thing that happens. Monotonic, in seconds.
"""

from orchestrator.protocol.chat import SessionView
from orchestrator.protocol.control_events import InterruptRequested, SandboxAssigned
from orchestrator.protocol.events import Event
from orchestrator.protocol.sandbox_events import MemoryMeasured, StorageMeasured
from orchestrator.protocol.task_events import TaskFinished, TaskStarted
from orchestrator.sessions.view.states import SERVED
from orchestrator.sessions.watch.situation import Situation
from orchestrator.sessions.watch.watch import FORGOTTEN_WITH_SANDBOX, FORGOTTEN_WITH_TURN

MAX_TASKS = 1_000
"""Background tasks that are told apart; a sandbox that begins more is busy all the same."""


class Activity:
    """`view`, `is_stopping`: as it was found, perhaps in a turn that somebody had stopped. When
    that began nobody knows any more: it counts from now on."""

    def __init__(
        self, *, now: float, view: SessionView | None = None, is_stopping: bool = False
    ) -> None:
        self._active_at = now
        in_turn = view is not None and view.turn_id is not None
        runs = view is not None and view.state == "running"
        self._turn_at: float | None = now if in_turn else None
        self._asking_at: float | None = now if in_turn and not runs else None
        self._tasks: set[str] = set()
        self._worked = True
        """Something was done in this sandbox: it is not as it was filled."""
        self.assigned_at: float | None = None
        self.interrupted_at: float | None = now if in_turn and is_stopping else None
        """The turn that runs, by whomever."""
        self.memory: MemoryMeasured | None = None
        self.storage: StorageMeasured | None = None
        self.told: set[str] = set()
        """Limits that people were warned of."""

    @property
    def active_at(self) -> float:
        """When it was last asked for anything, or did anything."""
        return self._active_at

    @property
    def busy(self) -> bool:
        """Something runs in the background."""
        return bool(self._tasks)

    def touch(self, now: float) -> None:
        self._active_at = max(self._active_at, now)

    def begin_stay(self, now: float, *, worked: bool = True) -> None:
        """In another sandbox, or (`worked`) in the same one after a restart."""
        self.assigned_at = now
        self._worked = worked
        self.memory = self.storage = None
        self._tasks.clear()
        self.told -= FORGOTTEN_WITH_SANDBOX
        self.touch(now)

    def take(self, before: SessionView, after: SessionView, event: Event, now: float) -> None:
        """`event` happened, between these two views."""
        self._follow_turn(before, after, now)
        match event:
            case SandboxAssigned():
                self.begin_stay(now, worked=after.turn_id is not None)
            case InterruptRequested() if self.interrupted_at is None:
                self.interrupted_at = now
            case MemoryMeasured():
                self.memory = event
            case StorageMeasured():
                self.storage = event
            case TaskStarted(task_id=task) if len(self._tasks) < MAX_TASKS:
                self._tasks.add(task)
                self._worked = True
            case TaskFinished(task_id=task):
                self._tasks.discard(task)
                self.touch(now)
            case _:
                pass

    def idle_since(self, view: SessionView) -> float | None:
        """None while it works."""
        return self._active_at if view.state in {"idle", "asking"} else None

    def turn_since(self, now: float) -> float | None:
        """When the turn would have begun, had it never waited for a person."""
        if self._turn_at is None:
            return None
        waited = now - self._asking_at if self._asking_at is not None else 0.0
        return self._turn_at + waited

    def situation(
        self, view: SessionView, *, now: float, age: float, is_current: bool, record: float = 0.0
    ) -> Situation:
        """`age`: of the session, in seconds. `record`: see `Situation`."""
        memory, storage = self.memory, self.storage
        return Situation(
            state=view.state,
            now=now,
            frozen=view.frozen,
            busy=self.busy,
            idle_since=self.idle_since(view),
            turn_since=self.turn_since(now),
            assigned_at=self.assigned_at,
            age=age,
            working_set=memory.working_set if memory else 0,
            memory_limit=memory.limit if memory else 0,
            home_used=storage.home_used if storage else 0,
            home_size=storage.home_size if storage else 0,
            workspace_used=storage.workspace_used if storage else 0,
            workspace_size=storage.workspace_size if storage else 0,
            record=record,
            worked=self._worked,
            is_current=is_current,
            interrupted_at=self.interrupted_at,
            told=frozenset(self.told),
        )

    def _follow_turn(self, before: SessionView, after: SessionView, now: float) -> None:
        if before.turn_id != after.turn_id:
            self._turn_at = now if after.turn_id is not None else None
            self._worked = self._worked or after.turn_id is not None
            self._asking_at = None
            self.interrupted_at = None
            self.told -= FORGOTTEN_WITH_TURN
            self.touch(now)
        if before.state == after.state:
            return
        if after.state in SERVED or before.state in SERVED:
            self.touch(now)
        runs = after.state == "running"
        if not runs and self._turn_at is not None and self._asking_at is None:
            self._asking_at = now
        elif runs and self._turn_at is not None and self._asking_at is not None:
            self._turn_at += now - self._asking_at
            self._asking_at = None
