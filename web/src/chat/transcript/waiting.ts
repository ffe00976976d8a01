/** What Claude waits for: permissions and questions that are open. */
import type { PermissionRequested, QuestionAsked } from '@/protocol/chat.generated'
import type { Draft } from './draft'

export function askPermission(draft: Draft, asked: PermissionRequested): void {
  const open = draft.get('session')?.permissions ?? []
  if (open.some((other) => other.permission_id === asked.permission_id)) return
  draft.session({ permissions: [...open, asked] })
}

/** Also says what had been asked, even when the session's view forgot it first. */
export function closePermission(draft: Draft, id: string): PermissionRequested | null {
  const open = draft.get('session')?.permissions ?? []
  draft.session({ permissions: open.filter((other) => other.permission_id !== id) })
  for (const { event } of draft.get('events').toReversed()) {
    if (event.type === 'permission_requested' && event.permission_id === id) return event
  }
  return null
}

export function askQuestion(draft: Draft, asked: QuestionAsked): void {
  const open = draft.get('session')?.questions ?? []
  if (open.some((other) => other.question_id === asked.question_id)) return
  draft.session({ questions: [...open, asked] })
}

export function closeQuestion(draft: Draft, id: string): QuestionAsked | null {
  const open = draft.get('session')?.questions ?? []
  draft.session({ questions: open.filter((other) => other.question_id !== id) })
  for (const { event } of draft.get('events').toReversed()) {
    if (event.type === 'question_asked' && event.question_id === id) return event
  }
  return null
}
