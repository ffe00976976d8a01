/** What went wrong, told once: the gateway's, the agent's and the turn's word on it are one row. */
import type { AgentFailed, UpstreamFailed } from '@/protocol/chat.generated'
import type { Draft } from './draft'
import type { FailureRow } from './shape'

export function upstreamFailed(draft: Draft, event: UpstreamFailed, seq: number, at: string): void {
  const last = lastFailure(draft)
  if (last?.tag === event.tag) return draft.replace({ ...last, times: last.times + 1 })
  draft.put({
    ...failure(`failure:${seq}`, at),
    tag: event.tag,
    sentence: event.sentence,
    advice: event.advice,
  })
}

export function agentFailed(draft: Draft, event: AgentFailed, seq: number, at: string): void {
  const last = event.parent ? null : lastFailure(draft)
  if (last) return draft.replace(withDetail(last, event.text ?? ''))
  draft.put({
    ...failure(`failure:${seq}`, at),
    tag: event.error,
    sentence: event.text ?? '',
    parent: event.parent ?? null,
  })
}

/** The last row, if it is a failure: only then do two reports speak of the same thing. */
export function lastFailure(draft: Draft): FailureRow | null {
  const row = draft.row(draft.get('order').at(-1) ?? '')
  return row?.kind === 'failure' ? row : null
}

/** Whether a report tells more than the sentence: the CLI quotes what the gateway answered it. */
export const saysMore = (detail: string, sentence: string): boolean =>
  detail !== '' && !plain(detail).includes(plain(sentence))

const plain = (text: string) => text.replaceAll('’', "'").replace(/\s+/g, ' ').trim().toLowerCase()

function withDetail(row: FailureRow, text: string): FailureRow {
  if (!text || text === row.sentence || row.details.includes(text)) return row
  return { ...row, details: [...row.details, text] }
}

const failure = (id: string, at: string): FailureRow => ({
  kind: 'failure',
  id,
  at,
  parent: null,
  tag: '',
  sentence: '',
  advice: '',
  times: 1,
  details: [],
})
