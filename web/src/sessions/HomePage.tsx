/** Nothing is open: say what this is, and offer the one thing to do. */
import { useTranslation } from 'react-i18next'
import { Wordmark } from '@/ui/Wordmark'
import { NewSession } from './NewSession'

export interface HomePageProps {
  /** Sends the first prompt of a session that was just created. */
  onPrompt: (sessionId: string, prompt: string) => void
}

export function HomePage({ onPrompt }: HomePageProps) {
  const { t } = useTranslation()
  return (
    <main className="home" tabIndex={-1} aria-label={t('sessions.home')}>
      <div className="home-brand">
        <Wordmark />
      </div>
      <div className="home-text">
        <h1>{t('sessions.homeTitle')}</h1>
        <p>{t('sessions.homeText')}</p>
        <NewSession onPrompt={onPrompt} />
      </div>
    </main>
  )
}
