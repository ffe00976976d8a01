/** Who refused or added something: the profile itself, or a policy by its name. */
import type { TFunction } from 'i18next'
import { revealedText } from '@/ui/revealed'

const PROFILE = 'profile'

export const nameOfPolicy = (policy: string, t: TFunction): string =>
  policy === PROFILE ? t('chat.guard.profile') : revealedText(policy, 'line')

export const ruledBy = (policy: string, t: TFunction): string =>
  policy === PROFILE
    ? t('chat.guard.byProfile')
    : t('chat.guard.byPolicy', { policy: revealedText(policy, 'line') })
