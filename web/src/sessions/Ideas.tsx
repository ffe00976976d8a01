/** First prompts for somebody who does not know yet what to ask. */
import { useTranslation } from 'react-i18next'

const IDEAS = ['explain', 'build', 'fix'] as const

interface IdeasProps {
  disabled?: boolean
  onChoose: (prompt: string) => void
}

export function Ideas({ disabled = false, onChoose }: IdeasProps) {
  const { t } = useTranslation()
  return (
    <div className="ideas">
      {IDEAS.map((idea) => (
        <button
          key={idea}
          type="button"
          className="idea"
          disabled={disabled}
          onClick={() => onChoose(t(`chat.idea.${idea}`))}
        >
          {t(`chat.idea.${idea}`)}
        </button>
      ))}
    </div>
  )
}
