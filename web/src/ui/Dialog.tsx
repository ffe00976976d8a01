/** A question or a sheet over the page; focus stays in it and returns where it was. */
import { X } from 'lucide-react'
import type { ReactNode } from 'react'
import { Dialog as AriaDialog, Heading, Modal, ModalOverlay } from 'react-aria-components'
import { useTranslation } from 'react-i18next'
import { Button, IconButton } from './Button'

export interface DialogProps {
  title: string
  open: boolean
  onClose: () => void
  children: ReactNode
  wide?: boolean
  /** False where there is no way but through: the sign-in over an expired page. */
  dismissable?: boolean
}

export function Dialog({ title, open, onClose, children, wide, dismissable = true }: DialogProps) {
  const { t } = useTranslation()
  return (
    <ModalOverlay
      className="veil"
      isOpen={open}
      isDismissable={dismissable}
      isKeyboardDismissDisabled={!dismissable}
      onOpenChange={(isOpen) => {
        if (!isOpen) onClose()
      }}
    >
      <Modal className="dialog-frame" {...(wide ? { 'data-wide': '' } : {})}>
        <AriaDialog className="dialog">
          <Heading slot="title" level={2}>
            {title}
          </Heading>
          {dismissable ? (
            <IconButton className="dialog-close" label={t('ui.close')} onClick={onClose}>
              <X size={16} aria-hidden="true" />
            </IconButton>
          ) : null}
          {children}
        </AriaDialog>
      </Modal>
    </ModalOverlay>
  )
}

export interface ConfirmProps {
  title: string
  text: string
  action: string
  open: boolean
  onClose: () => void
  onConfirm: () => void
}

export function Confirm({ title, text, action, open, onClose, onConfirm }: ConfirmProps) {
  const { t } = useTranslation()
  const confirm = () => {
    onConfirm()
    onClose()
  }
  return (
    <Dialog title={title} open={open} onClose={onClose}>
      <p>{text}</p>
      <div className="dialog-actions">
        <Button onClick={onClose}>{t('ui.cancel')}</Button>
        <Button variant="danger" onClick={confirm}>
          {action}
        </Button>
      </div>
    </Dialog>
  )
}
