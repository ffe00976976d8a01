/** A point in time, as the person's region writes it. */
import { useTranslation } from 'react-i18next'
import { regionOf } from '@/i18n/i18n'

export function useMoment(): (at: string | null) => string {
  const { i18n } = useTranslation()
  const region = regionOf(i18n.language, navigator.languages)
  return (at) => {
    const date = new Date(at ?? '')
    if (Number.isNaN(date.getTime())) return '–'
    return date.toLocaleString(region, { dateStyle: 'medium', timeStyle: 'short' })
  }
}
