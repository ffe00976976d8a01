/** What "always" would save, in the words of the rule itself, and which of it is picked at first. */
import type { TFunction } from 'i18next'
import type {
  PermissionMode,
  PermissionRequested,
  Rule,
  Suggestion,
} from '@/protocol/chat.generated'

export interface Offer {
  /** Its place among the request's suggestions: how the answer names it. */
  position: number
  text: string
  /** As the agent writes it, not in words. */
  exact: boolean
}

export function offersOf(asked: PermissionRequested, t: TFunction): Offer[] {
  return (asked.suggestions ?? []).map((suggestion, position) => ({
    position,
    text: textsOf(suggestion, t).join(', '),
    exact: suggestion.kind !== 'setMode',
  }))
}

/**
 * The agent suggests narrow rules and wide modes side by side. The rules alone answer the question
 * that was asked, so a wider grant is saved only where a person picks it.
 */
export function pickedAtFirst(asked: PermissionRequested): number[] {
  const all = (asked.suggestions ?? []).map((suggestion, position) => ({ suggestion, position }))
  const rules = all.filter(({ suggestion }) => suggestion.kind === 'addRules')
  return (rules.length > 0 ? rules : all.slice(0, 1)).map(({ position }) => position)
}

function textsOf(suggestion: Suggestion, t: TFunction): string[] {
  switch (suggestion.kind) {
    case 'addRules':
    case 'replaceRules':
      return (suggestion.rules ?? []).map(ruleText)
    case 'setMode':
      return [t('permissions.setMode', { mode: modeName(suggestion.mode ?? '', t) })]
    case 'addDirectories':
      return (suggestion.directories ?? []).map((path) => t('permissions.addDirectory', { path }))
    default:
      return [suggestion.kind]
  }
}

const modeName = (mode: string, t: TFunction): string =>
  t(`permissions.mode.${mode as PermissionMode}`, { defaultValue: mode })

export const ruleText = ({ tool, content }: Rule): string =>
  content ? `${tool}(${content})` : tool
