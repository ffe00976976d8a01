/** Why Claude asks, line by line, without what stands in the request below it anyway. */
import type { TFunction } from 'i18next'
import type { PermissionRequested } from '@/protocol/chat.generated'

export function reasonsOf(asked: PermissionRequested, t: TFunction): string[] {
  const { description, reason, blocked_path: blocked } = asked
  const lines = [
    description,
    reason,
    blocked ? t('permissions.blockedPath', { path: blocked }) : '',
  ]
  return [...new Set(lines)].filter((line): line is string => !!line && !repeats(line, asked))
}

/** The agent describes a change by its file's name, and some commands by themselves. */
function repeats(line: string, { input }: PermissionRequested): boolean {
  const said = line.trim()
  const { file_path: path, command } = input
  if (typeof path === 'string' && (path === said || path.endsWith(`/${said}`))) return true
  return typeof command === 'string' && command.trim() === said
}
