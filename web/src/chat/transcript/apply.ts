/** One event, applied. Every tag has its line here; a new one fails to compile until it has. */
import type { Event, SequencedEvent } from '@/protocol/chat.generated'
import { applyDelta, closeText, closeThought, finishTool, startTool, toolRow } from './blocks'
import type { Draft } from './draft'
import { agentFailed, upstreamFailed } from './failures'
import type { Mark, ToolRow } from './shape'
import { applyStays, endStay } from './stays'
import { finishTask, progressTask, startTask, updateTask } from './tasks'
import {
  acceptPrompt,
  endTurn,
  meterUsage,
  removePrompt,
  settleUnfinished,
  startTurn,
} from './turns'
import { askPermission, askQuestion, closePermission, closeQuestion } from './waiting'
import { applyWarnings } from './warnings'
import { annotatePrompt, blockPrompt, forbidTool, refuseEgress } from './walls'

const TRANSIENT = new Set<Event['type']>([
  'block_delta',
  'status_reported',
  'context_measured',
  'memory_measured',
  'storage_measured',
  'cli_stderr',
])

export function applyEvent(draft: Draft, { seq, at, event }: SequencedEvent): void {
  if (!TRANSIENT.has(event.type)) draft.log({ seq, at, event })
  if (applyWriting(draft, event, at)) return
  if (applyTurns(draft, event, at)) return
  if (applyWaiting(draft, event)) return
  if (applyMeasures(draft, event)) return
  if (applyWalls(draft, event, seq, at)) return
  if (applyStays(draft, event, seq, at)) return
  if (applyWarnings(draft, event, seq, at)) return
  applyMarks(draft, event, seq, at)
}

function applyWalls(draft: Draft, event: Event, seq: number, at: string): boolean {
  switch (event.type) {
    case 'tool_forbidden':
      forbidTool(draft, event, seq, at)
      return true
    case 'prompt_blocked':
      blockPrompt(draft, event, seq, at)
      return true
    case 'prompt_annotated':
      annotatePrompt(draft, event, seq, at)
      return true
    case 'egress_refused':
      refuseEgress(draft, event, seq, at)
      return true
    case 'file_uploaded': {
      const { path, size, by } = event
      draft.put({ kind: 'upload', id: `upload:${seq}`, at, parent: null, path, size, by })
      return true
    }
    default:
      return false
  }
}

function applyWriting(draft: Draft, event: Event, at: string): boolean {
  switch (event.type) {
    case 'block_delta':
      applyDelta(draft, event, at)
      return true
    case 'text_written':
      closeText(draft, event, at)
      return true
    case 'thought_written':
      closeThought(draft, event, at)
      return true
    case 'tool_started':
      startTool(draft, event, at)
      return true
    case 'tool_finished':
      finishTool(draft, event, at)
      return true
    default:
      return false
  }
}

function applyTurns(draft: Draft, event: Event, at: string): boolean {
  switch (event.type) {
    case 'prompt_accepted':
      acceptPrompt(draft, event, at)
      return true
    case 'prompt_removed':
      removePrompt(draft, event.client_id)
      return true
    case 'prompt_unfinished': {
      const { client_id, text, by, sentence } = event
      draft.session({ unfinished: { client_id, text, by, sentence } })
      return true
    }
    case 'prompt_let_go':
      settleUnfinished(draft, event.client_id)
      return true
    case 'turn_started':
      startTurn(draft, event, at)
      return true
    case 'interrupt_requested':
      draft.turn(event.turn_id, (turn) => ({ ...turn, outcome: 'stopping' }))
      return true
    case 'turn_ended':
      endTurn(draft, event, at)
      return true
    case 'usage_metered':
      meterUsage(draft, event)
      return true
    case 'task_started':
      startTask(draft, event, at)
      return true
    case 'task_progressed':
      progressTask(draft, event, at)
      return true
    case 'task_updated':
      updateTask(draft, event, at)
      return true
    case 'task_finished':
      finishTask(draft, event, at)
      return true
    default:
      return false
  }
}

function applyWaiting(draft: Draft, event: Event): boolean {
  switch (event.type) {
    case 'permission_requested':
      askPermission(draft, event)
      return true
    case 'permission_resolved':
      onTool(draft, closePermission(draft, event.permission_id), { decision: event })
      draft.set('answered', event)
      return true
    case 'permission_withdrawn':
      closePermission(draft, event.permission_id)
      return true
    case 'question_asked':
      askQuestion(draft, event)
      return true
    case 'question_answered':
      onTool(draft, closeQuestion(draft, event.question_id), { answer: event })
      draft.set('answered', event)
      return true
    case 'question_withdrawn':
      closeQuestion(draft, event.question_id)
      return true
    default:
      return false
  }
}

/** What was said of it stands with the tool that asked. */
function onTool(
  draft: Draft,
  asked: { tool_use_id?: string | null } | null,
  said: Partial<Pick<ToolRow, 'decision' | 'answer'>>,
): void {
  const row = asked?.tool_use_id ? toolRow(draft, asked.tool_use_id) : null
  if (row) draft.replace({ ...row, ...said })
}

function applyMeasures(draft: Draft, event: Event): boolean {
  switch (event.type) {
    case 'agent_ready':
      draft.set('agent', event)
      return true
    case 'todos_changed':
      draft.set('todos', event.todos)
      return true
    case 'status_reported':
      draft.set('busy', event.status)
      return true
    case 'context_measured':
      draft.session({ context_used: event.used, context_window: event.window })
      return true
    case 'memory_measured':
      draft.session({ memory_bytes: event.working_set, memory_limit: event.limit })
      return true
    case 'model_changed':
      draft.session({ model: event.model })
      return true
    case 'permission_mode_changed':
      draft.session({ permission_mode: event.mode })
      return true
    case 'session_renamed':
      draft.session({ title: event.title })
      return true
    case 'storage_measured':
      draft.session({
        home_bytes: event.home_used,
        home_limit: event.home_size,
        workspace_bytes: event.workspace_used,
        workspace_limit: event.workspace_size,
      })
      return true
    // Told elsewhere, or for the operator alone.
    case 'agent_resumed':
    case 'cli_stderr':
    case 'hook_ran':
    case 'mirror_failed':
    case 'system_noted':
      return true
    default:
      return false
  }
}

/** A lost sandbox ends its session, for the same reason in the same words: once is enough. */
function lossSays(draft: Draft, sentence: string): boolean {
  const last = draft.row(draft.get('order').at(-1) ?? '')
  return last?.kind === 'stay' && last.cause === 'lost' && last.sentence === sentence
}

function applyMarks(draft: Draft, event: Event, seq: number, at: string): void {
  const mark = (kind: Mark, tag: string, text: string) =>
    draft.put({ kind: 'mark', id: `mark:${seq}`, at, parent: null, mark: kind, tag, text })
  switch (event.type) {
    case 'note_written': {
      const { text, origin = '', parent = null } = event
      draft.put({ kind: 'note', id: `note:${seq}`, at, parent, text, origin })
      return
    }
    case 'upstream_failed':
      return upstreamFailed(draft, event, seq, at)
    case 'agent_failed':
      return agentFailed(draft, event, seq, at)
    case 'command_failed':
      return mark('unknown', event.command, event.text)
    case 'context_compacted':
      return mark('compacted', event.trigger ?? '', String(event.tokens_before ?? 0))
    case 'conversation_reset':
      return mark('reset', '', '')
    case 'rate_limited':
      if (event.status !== 'allowed') mark('limited', event.status, String(event.resets_at ?? ''))
      return
    case 'session_ended':
      endStay(draft)
      if (!lossSays(draft, event.sentence)) mark('ended', event.tag, event.sentence)
      return
    default: // an event of a newer server: shown as such, never guessed at
      mark('unknown', event.type === 'unrecognised' ? event.tag : event.type, '')
  }
}
