/** Says how many lines are not shown, and shows them. */
import { ChevronDown } from 'lucide-react'
import { useTranslation } from 'react-i18next'

export function MoreLines({ count, onShow }: { count: number; onShow: () => void }) {
  const { t } = useTranslation()
  if (count <= 0) return null
  return (
    <button type="button" className="more-lines" onClick={onShow}>
      <ChevronDown size={14} aria-hidden="true" />
      {t('ui.moreLines', { count })}
    </button>
  )
}
