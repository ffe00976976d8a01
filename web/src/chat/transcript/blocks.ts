/** The blocks that Claude writes: pieces arrive as deltas, the durable event replaces them. */
import type {
  BlockDelta,
  TextWritten,
  ThoughtWritten,
  ToolFinished,
  ToolStarted,
} from '@/protocol/chat.generated'
import { own } from '@/ui/own'
import type { Draft } from './draft'
import { blockRowId, type TextRow, type ThoughtRow, type ToolRow } from './shape'

type WrittenRow = TextRow | ThoughtRow | ToolRow

/** Applying a delta twice, or one that overlaps what is there, changes nothing. */
export function applyDelta(draft: Draft, delta: BlockDelta, at: string): void {
  const id = blockRowId(delta.message_id, delta.index)
  const known = draft.row(id)
  if (known && !isOpen(known)) return
  const row = (known as WrittenRow | undefined) ?? openRow(id, delta, at)
  const fresh = afterOffset(delta.text, row.points - delta.offset)
  if (known && (fresh === '' || delta.offset > row.points)) return
  draft.put({ ...row, text: row.text + fresh, points: row.points + countPoints(fresh) })
}

export function closeText(draft: Draft, event: TextWritten, at: string): void {
  const id = blockRowId(event.message_id, event.index)
  const parent = event.parent ?? null
  const points = countPoints(event.text)
  const cut = event.cut ?? false
  draft.put({ kind: 'text', id, at, parent, text: event.text, points, open: false, cut })
}

export function closeThought(draft: Draft, event: ThoughtWritten, at: string): void {
  const id = blockRowId(event.message_id, event.index)
  const known = draft.row(id)
  draft.put({
    kind: 'thought',
    id,
    at: known?.at ?? at,
    parent: event.parent ?? null,
    text: event.text,
    points: countPoints(event.text),
    open: false,
    tookMs: known ? elapsed(known.at, at) : null,
    cut: event.cut ?? false,
  })
}

export function startTool(draft: Draft, event: ToolStarted, at: string): void {
  const id = blockRowId(event.message_id, event.index)
  draft.put({
    ...emptyTool(id, event.tool_use_id, event.name, at),
    forbidden: toolRow(draft, event.tool_use_id)?.forbidden ?? null,
    parent: event.parent ?? null,
    input: event.input,
  })
}

export function finishTool(draft: Draft, event: ToolFinished, at: string): void {
  const row = toolRow(draft, event.tool_use_id)
  if (row) draft.replace({ ...row, open: false, result: event, tookMs: elapsed(row.at, at) })
}

export function toolRow(draft: Draft, toolUseId: string): ToolRow | null {
  const row = draft.row(own(draft.get('tools'), toolUseId) ?? '')
  return row?.kind === 'tool' ? row : null
}

/** A turn that was cut leaves blocks half-written: they stay as they are, but nothing blinks. */
export function closeOpenBlocks(draft: Draft): void {
  for (const row of Object.values(draft.get('rows'))) {
    if (isOpen(row)) draft.replace({ ...row, open: false })
  }
}

function isOpen(row: { kind: string; open?: boolean }): row is WrittenRow & { open: true } {
  return 'open' in row && row.open === true
}

function openRow(id: string, delta: BlockDelta, at: string): WrittenRow {
  const written = { text: '', points: delta.offset, open: true }
  const shared = { id, at, parent: delta.parent ?? null, ...written }
  if (delta.kind === 'text') return { kind: 'text', ...shared, cut: false }
  if (delta.kind === 'thinking') return { kind: 'thought', ...shared, tookMs: null, cut: false }
  const tool = emptyTool(id, delta.tool_use_id ?? id, delta.tool_name ?? '', at)
  return { ...tool, ...shared, kind: 'tool' }
}

function emptyTool(id: string, toolUseId: string, name: string, at: string): ToolRow {
  return {
    kind: 'tool',
    id,
    at,
    parent: null,
    toolUseId,
    name,
    input: null,
    text: '',
    points: 0,
    open: true,
    result: null,
    tookMs: null,
    decision: null,
    forbidden: null,
    answer: null,
  }
}

function afterOffset(text: string, known: number): string {
  return known <= 0 ? text : [...text].slice(known).join('')
}

export function countPoints(text: string): number {
  return [...text].length
}

const elapsed = (from: string, to: string) => Math.max(0, Date.parse(to) - Date.parse(from))
