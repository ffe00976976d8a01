/** Subagents and background tasks, as the inspector lists them. */
import type {
  TaskFinished,
  TaskProgressed,
  TaskStarted,
  TaskUpdated,
} from '@/protocol/chat.generated'
import { own } from '@/ui/own'
import type { Draft } from './draft'
import type { Task } from './shape'

export function startTask(draft: Draft, event: TaskStarted, at: string): void {
  draft.task({
    ...unseen(event.task_id, at),
    description: event.description,
    toolUseId: event.tool_use_id ?? null,
  })
}

export function progressTask(draft: Draft, event: TaskProgressed, at: string): void {
  const task = known(draft, event.task_id, at)
  draft.task({
    ...task,
    description: event.description || task.description,
    tokens: event.total_tokens ?? task.tokens,
    toolUses: event.tool_uses ?? task.toolUses,
    durationMs: event.duration_ms ?? task.durationMs,
    lastTool: event.last_tool ?? task.lastTool,
  })
}

export function updateTask(draft: Draft, event: TaskUpdated, at: string): void {
  const task = known(draft, event.task_id, at)
  draft.task({ ...task, status: event.status ?? task.status })
}

export function finishTask(draft: Draft, event: TaskFinished, at: string): void {
  const task = known(draft, event.task_id, at)
  draft.task({
    ...task,
    status: event.status,
    summary: event.summary ?? '',
    tokens: event.total_tokens ?? task.tokens,
    toolUses: event.tool_uses ?? task.toolUses,
    durationMs: event.duration_ms ?? task.durationMs,
    toolUseId: event.tool_use_id ?? task.toolUseId,
  })
}

const known = (draft: Draft, id: string, at: string): Task =>
  own(draft.get('tasks'), id) ?? unseen(id, at)

const unseen = (id: string, at: string): Task => ({
  id,
  description: '',
  status: 'running',
  toolUseId: null,
  startedAt: at,
  tokens: 0,
  toolUses: 0,
  durationMs: 0,
  lastTool: null,
  summary: '',
})
