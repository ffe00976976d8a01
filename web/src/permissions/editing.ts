/** Changing what is about to run: a command as text, anything else as JSON. */
import type { PermissionRequested } from '@/protocol/chat.generated'
import { ExactNumber, parseExactly } from '@/protocol/exact-numbers'

export interface Editable {
  /** The one field that is edited; null for the whole input. */
  field: string | null
  text: string
}

export function editable({ input }: PermissionRequested): Editable {
  const command = input['command']
  if (typeof command === 'string') return { field: 'command', text: command }
  return { field: null, text: JSON.stringify(input, null, 2) }
}

/** Null where the text is no JSON object. */
export function edited(
  { input }: PermissionRequested,
  field: string | null,
  text: string,
): Record<string, unknown> | null {
  if (field) return text.trim() === '' ? null : { ...input, [field]: text }
  try {
    const value = parseExactly(text)
    const isObject =
      typeof value === 'object' &&
      value !== null &&
      !Array.isArray(value) &&
      !(value instanceof ExactNumber)
    return isObject ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}
