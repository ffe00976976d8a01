import { useTranslation } from 'react-i18next'

/** The vault of a casemate: one chamber, walls on every side. */
export function Wordmark() {
  const { t } = useTranslation()
  return (
    <span className="wordmark">
      <svg viewBox="0 0 32 32" width="20" height="20" aria-hidden="true">
        <path d="M3 29V15a13 13 0 0 1 26 0v14h-8v-9a5 5 0 0 0-10 0v9z" fill="currentColor" />
      </svg>
      {t('app.name')}
    </span>
  )
}
