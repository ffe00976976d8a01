/** Which change of a session is worth saying aloud, and how urgently. Pure. */
import type { TFunction } from 'i18next'
import type { OpenSession } from './session-store'

export interface Announcement {
  text: string
  urgency: 'polite' | 'assertive'
  /** Also for the eye: it is not seen anywhere else. */
  shown: boolean
}

const LONGEST = 120

export function announcements(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  if (!before.loaded) return []
  return [
    ...line(before, now, t),
    ...waiting(before, now, t),
    ...answeredElsewhere(before, now, t),
    ...turn(before, now, t),
    ...refusal(before, now),
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
  return now.status === 'offline' ? [polite(t('chat.say.offline'))] : []
}

function waiting(before: OpenSession, now: OpenSession, t: TFunction): Announcement[] {
  const known = new Set((before.session?.permissions ?? []).map((asked) => asked.permission_id))
  const asked = (now.session?.permissions ?? []).find((one) => !known.has(one.permission_id))
  if (asked) return [urgent(t('chat.say.permission', { tool: asked.tool_name }))]
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
      return [urgent(t('chat.say.failed', { text: firstSentence(last.text) }))]
    case 'interrupted':
      return [polite(t('chat.say.stopped'))]
    case 'stopping':
      return []
  }
}

function refusal(before: OpenSession, now: OpenSession): Announcement[] {
  if (!now.refusal || now.refusal === before.refusal) return []
  const { title, detail = '' } = now.refusal.problem
  return [urgent(`${title} ${detail}`.trim(), true)]
}

export function firstSentence(text: string): string {
  const plain = text
    .replace(/[`*_#>]/g, '')
    .replace(/\s+/g, ' ')
    .trim()
  const sentence = /^.*?[.!?](?=\s|$)/.exec(plain)?.[0] ?? plain
  return sentence.length > LONGEST ? `${sentence.slice(0, LONGEST - 1)}…` : sentence
}
