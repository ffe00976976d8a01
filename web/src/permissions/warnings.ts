/** What a person is told in plain words about a request before they answer it. */
import type { PermissionRequested } from '@/protocol/chat.generated'
import { mayBeRounded } from '@/protocol/exact-numbers'
import { findings, textsIn, type Finding } from '@/ui/revealed'

export type Warning = Finding | 'rounded'

const ORDER: readonly Warning[] = ['unseen', 'host', 'blanks', 'rounded']

export function warningsOf(asked: PermissionRequested): Warning[] {
  const found: Set<Warning> = findings(textsIn(asked))
  if (mayBeRounded(asked.input)) found.add('rounded')
  return ORDER.filter((warning) => found.has(warning))
}
