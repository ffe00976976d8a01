"""Keeps Claude's to-do list as its tools change it, and tells when it is another one.

The CLI has had two ways: `TodoWrite` replaces the whole list, `TaskCreate` and its siblings change
one entry each, and only their results say what became of it. Pure.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Literal

from orchestrator.protocol.event_parts import Todo
from orchestrator.protocol.sandbox_events import TodosChanged
from shim.foreign_values import as_dict, as_list, as_text

MAX_OPEN_CALLS = 256
MAX_TODOS = 500
_TOOLS = frozenset({"TaskCreate", "TaskUpdate", "TaskList"})

Status = Literal["pending", "in_progress", "completed"]
_STATUSES: dict[str, Status] = {
    "pending": "pending",
    "in_progress": "in_progress",
    "completed": "completed",
}


class TodoList:
    def __init__(self) -> None:
        self._todos: list[Todo] = []
        self._calls: OrderedDict[str, tuple[str, dict[str, Any]]] = OrderedDict()

    def tool_started(
        self, tool_use_id: str, name: str, tool_input: dict[str, Any], *, parent: str | None
    ) -> list[TodosChanged]:
        if name in _TOOLS:
            self._calls[tool_use_id] = (name, tool_input)
            if len(self._calls) > MAX_OPEN_CALLS:
                self._calls.popitem(last=False)
        elif name == "TodoWrite" and parent is None:  # a subagent's list is its own
            return self._become([_todo(as_dict(item)) for item in as_list(tool_input.get("todos"))])
        return []

    def tool_finished(
        self, tool_use_id: str, detail: object, *, is_error: bool
    ) -> list[TodosChanged]:
        name, tool_input = self._calls.pop(tool_use_id, ("", {}))
        result = as_dict(detail)
        if is_error or not result:
            return []
        match name:
            case "TaskCreate":
                return self._created(tool_input, as_dict(result.get("task")))
            case "TaskUpdate":
                return self._updated(tool_input, as_text(result.get("taskId")))
            case "TaskList":
                return self._listed([as_dict(item) for item in as_list(result.get("tasks"))])
            case _:
                return []

    def retrace(self, entries: Iterable[dict[str, Any]]) -> list[TodosChanged]:
        """What became of the list in a transcript, whatever it was before."""
        self._todos = []
        for entry in entries:
            detail = entry.get("toolUseResult")
            for block in as_list(as_dict(entry.get("message")).get("content")):
                self._retrace(as_dict(block), detail)
        self._calls.clear()
        return [TodosChanged(todos=self._todos)]

    def _retrace(self, block: dict[str, Any], detail: object) -> None:
        match block.get("type"):
            case "tool_use":
                name, tool_input = as_text(block.get("name")), as_dict(block.get("input"))
                self.tool_started(as_text(block.get("id")), name, tool_input, parent=None)
            case "tool_result":
                is_error = bool(block.get("is_error"))
                self.tool_finished(as_text(block.get("tool_use_id")), detail, is_error=is_error)
            case _:
                pass

    def forget(self) -> list[TodosChanged]:
        """The conversation was reset."""
        self._calls.clear()
        return self._become([])

    def _created(self, asked: dict[str, Any], task: dict[str, Any]) -> list[TodosChanged]:
        todo = Todo(
            id=as_text(task.get("id")),
            content=as_text(task.get("subject") or asked.get("subject")),
            active_form=as_text(asked.get("activeForm")),
        )
        return self._become([*(item for item in self._todos if item.id != todo.id), todo])

    def _updated(self, asked: dict[str, Any], task_id: str) -> list[TodosChanged]:
        task_id = task_id or as_text(asked.get("taskId"))
        if asked.get("status") == "deleted":
            return self._become([item for item in self._todos if item.id != task_id])
        return self._become(
            [_changed(item, asked) if item.id == task_id else item for item in self._todos]
        )

    def _listed(self, tasks: list[dict[str, Any]]) -> list[TodosChanged]:
        """The whole list as the CLI has it: heals what was missed."""
        forms = {item.id: item.active_form for item in self._todos}
        return self._become(
            [
                Todo(
                    id=as_text(task.get("id")),
                    content=as_text(task.get("subject")),
                    status=_STATUSES.get(as_text(task.get("status")), "pending"),
                    active_form=forms.get(as_text(task.get("id")), ""),
                )
                for task in tasks
            ]
        )

    def _become(self, todos: list[Todo]) -> list[TodosChanged]:
        todos = todos[:MAX_TODOS]
        if todos == self._todos:
            return []
        self._todos = todos
        return [TodosChanged(todos=todos)]


def _todo(item: dict[str, Any]) -> Todo:
    return Todo(
        content=as_text(item.get("content")),
        status=_STATUSES.get(as_text(item.get("status")), "pending"),
        active_form=as_text(item.get("activeForm")),
        id=as_text(item.get("id")),
    )


def _changed(todo: Todo, asked: dict[str, Any]) -> Todo:
    return Todo(
        id=todo.id,
        content=as_text(asked.get("subject")) or todo.content,
        status=_STATUSES.get(as_text(asked.get("status")), todo.status),
        active_form=as_text(asked.get("activeForm")) or todo.active_form,
    )
