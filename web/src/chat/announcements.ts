/** Which change of a session is worth saying aloud, and how urgently. Pure. */
import type { TFunction } from 'i18next'
import { revealedText } from '@/ui/revealed'
import type { OpenSession } from './session-store'
import { wordsOfStay } from './stay-words'
import { userRowId, type Guard } from './transcript/shape'

export interface Announcement {
  text: string
  urgency: 'polite' | 'assertive'
  /** Also for the eye: it is not seen anywhere else. */
  shown: boolean
}

const LONGEST = 120
const LATEST_ROWS = 6

export function announcements(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  if (!before.loaded) return []
  return [
    ...line(before, now, t),
    ...waiting(before, now, t),
    ...answeredElsewhere(before, now, t),
    ...turn(before, now, t),
    ...stay(before, now, t),
    ...unfinished(before, now, t),
    ...refusal(before, now),
    ...blocked(before, now, t),
  ]
}

const polite = (text: string, shown = false): Announcement => ({ text, urgency: 'polite', shown })
const urgent = (text: string, shown = false): Announcement => ({
  text,
  urgency: 'assertive',
  shown,
})

function line(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  if (before.status === now.status) return []
  if (now.status === 'online') return [polite(t('chat.say.online'))]
  if (now.status === 'restarting') return [polite(t('chat.say.restarting'))]
  return now.status === 'offline' ? [polite(t('chat.say.offline'))] : []
}

function waiting(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  const known = new Set((before.session?.permissions ?? []).map((asked) => asked.permission_id))
  const asked = (now.session?.permissions ?? []).find((one) => !known.has(one.permission_id))
  if (asked)
    return [urgent(t('chat.say.permission', { tool: revealedText(asked.tool_name, 'line') }))]
  const questions = (now.session?.questions ?? []).length
  return questions > (before.session?.questions ?? []).length
    ? [urgent(t('chat.say.question'))]
    : []
}

function answeredElsewhere(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  const answered = now.answered
  if (!answered || answered === before.answered) return []
  const id = answered.type === 'permission_resolved' ? answered.permission_id : answered.question_id
  if (now.mine.includes(id)) return []
  const said =
    answered.type === 'permission_resolved'
      ? t(`permissions.said.${answered.choice}`, { name: answered.by })
      : t('permissions.said.answered', { name: answered.by })
  return [polite(`${t('permissions.elsewhere')}: ${said}`, true)]
}

function turn(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  const last = now.turns.at(-1)
  const known = before.turns.find((other) => other.id === last?.id)
  if (!last || last.outcome === known?.outcome) return []
  switch (last.outcome) {
    case 'running':
      return [polite(t('chat.say.working'))]
    case 'completed':
      return [polite(t('chat.say.done', { text: firstSentence(last.text) }))]
    case 'failed':
      if (last.lost || blockedIn(now, last.clientId)) return [] // which is said instead
      return [urgent(t('chat.say.failed', { text: firstSentence(last.text) }))]
    case 'interrupted':
      return [polite(t('chat.say.stopped'))]
    case 'stopping':
      return []
  }
}

/** A sandbox that is lost, and what came of it: aloud at its beginning and at its end. */
function stay(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  for (const id of now.order.slice(-LATEST_ROWS)) {
    const row = now.rows[id]
    const known = before.rows[id]
    if (row?.kind !== 'stay' || row.cause !== 'lost' || row === known) continue
    if (known?.kind === 'stay' && known.phase === row.phase) continue
    const words = wordsOfStay(row, t, navigator.language)
    return [polite(row.phase === 'back' ? t('stays.say.awake') : revealedText(words))]
  }
  return []
}

function unfinished(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  const id = now.session?.unfinished?.client_id
  if (!id || id === before.session?.unfinished?.client_id) return []
  return [urgent(t('stays.say.unfinished'))]
}

function refusal(before: OpenSession, now: OpenSession): Announcement[] {
  if (!now.refusal || now.refusal === before.refusal) return []
  const { title, detail = '' } = now.refusal.problem
  // A card that is still there says it itself.
  const onCard = now.refusal.command === 'decide_permission' && !!now.session?.permissions?.length
  return [urgent(`${title} ${detail}`.trim(), !onCard)]
}

function blocked(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  const clientId = now.turns.at(-1)?.clientId ?? ''
  const guard = blockedIn(now, clientId)
  if (!guard || blockedIn(before, clientId)) return []
  return [urgent(t('chat.say.blocked', { reason: revealedText(guard.text) }))]
}

function blockedIn({ rows }: OpenSession, clientId: string): Guard | null {
  const row = rows[userRowId(clientId)]
  return row?.kind === 'user' ? row.blocked : null
}

export function firstSentence(text: string): string {
  const plain = text
    .replace(/[`*_#>]/g, '')
    .replace(/\s+/g, ' ')
    .trim()
  const sentence = /^.*?[.!?](?=\s|$)/.exec(plain)?.[0] ?? plain
  return sentence.length > LONGEST ? `${sentence.slice(0, LONGEST - 1)}…` : sentence
}
