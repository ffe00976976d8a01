import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { Button } from '@/ui/Button'
import { Dialog } from '@/ui/Dialog'

const LONGEST = 200

export interface RenameProps {
  title: string
  onClose: () => void
  onRename: (title: string) => void
}

export function RenameDialog({ title, onClose, onRename }: RenameProps) {
  const { t } = useTranslation()
  const [text, setText] = useState(title)
  const submit = () => {
    if (text.trim()) onRename(text.trim())
    onClose()
  }
  return (
    <Dialog title={t('sessions.rename')} open onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          submit()
        }}
      >
        <label className="field">
          <span className="field-label">{t('sessions.title')}</span>
          {/* oxlint-disable-next-line jsx-a11y/no-autofocus -- opened by the person, to be typed in */}
          <input
            className="input"
            autoFocus
            maxLength={LONGEST}
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
        </label>
        <div className="dialog-actions">
          <Button onClick={onClose}>{t('ui.cancel')}</Button>
          <Button type="submit" variant="primary" disabled={!text.trim()}>
            {t('ui.save')}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
