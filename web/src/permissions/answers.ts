/** A person's answer to one question, and the text that Claude gets of it. */
import type { Question } from '@/protocol/chat.generated'

export interface Given {
  readonly chosen: readonly string[]
  readonly own: string
}

export const NOT_ANSWERED: Given = { chosen: [], own: '' }

export const complete = ({ chosen, own }: Given): boolean => chosen.length > 0 || own.trim() !== ''

/** Choices stand in the order in which they were offered, joined as the tool expects it. */
export function answerText(question: Question, { chosen, own }: Given): string {
  const offered = (question.options ?? []).map((option) => option.label)
  const inOrder = offered.filter((label) => chosen.includes(label))
  return [...inOrder, own.trim()].filter(Boolean).join(', ')
}
