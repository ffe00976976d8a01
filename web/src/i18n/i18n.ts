/** The sentences of the page, by key. English is complete; another language is loaded when wanted. */
import { createInstance, type i18n } from 'i18next'
import { initReactI18next } from 'react-i18next'
import { en } from './en'

export type Locale = 'en' | 'de'
export const LOCALES: readonly Locale[] = ['en', 'de']

export async function createI18n(locale: Locale): Promise<i18n> {
  const instance = createInstance()
  await instance.use(initReactI18next).init({
    lng: locale,
    fallbackLng: 'en',
    resources: { en: { translation: en }, ...(await more(locale)) },
    interpolation: { escapeValue: false }, // React escapes
  })
  return instance
}

async function more(locale: Locale) {
  return locale === 'de' ? { de: { translation: (await import('./de')).de } } : {}
}

export function localeOf(wish: 'system' | Locale, languages: readonly string[]): Locale {
  if (wish !== 'system') return wish
  const known = languages.map((language) => language.slice(0, 2).toLowerCase())
  return (
    LOCALES.find((locale) => locale === known.find((code) => LOCALES.includes(code as Locale))) ??
    'en'
  )
}

/** How dates are written: as in the browser's own region, where it speaks the page's language. */
export function regionOf(language: string, languages: readonly string[]): string {
  return languages.find((other) => baseOf(other) === baseOf(language)) ?? language
}

const baseOf = (language: string) => language.split('-', 1)[0]?.toLowerCase()
