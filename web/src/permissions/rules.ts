/** What "always" would save, in the words of the rule itself. */
import type { TFunction } from 'i18next'
import type { PermissionRequested, Rule, Suggestion } from '@/protocol/chat.generated'

export function ruleTexts(asked: PermissionRequested, t: TFunction): string[] {
  return (asked.suggestions ?? []).flatMap((suggestion) => textsOf(suggestion, t))
}

function textsOf(suggestion: Suggestion, t: TFunction): string[] {
  switch (suggestion.kind) {
    case 'addRules':
    case 'replaceRules':
      return (suggestion.rules ?? []).map(ruleText)
    case 'setMode':
      return [t('permissions.setMode', { mode: suggestion.mode ?? '' })]
    case 'addDirectories':
      return (suggestion.directories ?? []).map((path) => t('permissions.addDirectory', { path }))
    default:
      return [suggestion.kind]
  }
}

export const ruleText = ({ tool, content }: Rule): string =>
  content ? `${tool}(${content})` : tool
