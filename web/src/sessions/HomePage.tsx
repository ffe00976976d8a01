/** Nothing is open: say what this is, and offer the one thing to do. */
import { useTranslation } from 'react-i18next'
import { NewSession } from './NewSession'

export function HomePage() {
  const { t } = useTranslation()
  return (
    <main className="home" tabIndex={-1} aria-label={t('sessions.home')}>
      <div className="home-text">
        <h1>{t('sessions.homeTitle')}</h1>
        <p>{t('sessions.homeText')}</p>
        <NewSession />
      </div>
    </main>
  )
}
