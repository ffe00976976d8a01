/** One permission: exactly what would run, the rule that "always" would save, and the answers. */
import { useState, type KeyboardEvent } from 'react'
import { useTranslation } from 'react-i18next'
import type { PermissionDecision, PermissionRequested } from '@/protocol/chat.generated'
import { Button } from '@/ui/Button'
import { hasUnseen } from '@/ui/revealed'
import { Revealed } from '@/ui/Revealed'
import { StateShape } from '@/ui/StateShape'
import { editable, edited } from './editing'
import { Exactly } from './Exactly'
import { reasonsOf } from './reasons'
import { RulePicker } from './RulePicker'
import { offersOf, pickedAtFirst } from './rules'

export interface PermissionCardProps {
  asked: PermissionRequested
  deciding: string | null
  onDecide: (decision: PermissionDecision) => void
}

type Panel = 'none' | 'edit' | 'deny'

export function PermissionCard({ asked, deciding, onDecide }: PermissionCardProps) {
  const { t } = useTranslation()
  const [panel, setPanel] = useState<Panel>('none')
  const [picked, setPicked] = useState(() => pickedAtFirst(asked))
  const always = picked.length > 0
  const allowAlways = () => onDecide({ choice: 'allow_always', suggestions: picked })
  const sending = deciding !== null
  const onKeyDown = (event: KeyboardEvent) => {
    if (sending || isTyping(event.target) || event.altKey || event.ctrlKey || event.metaKey) return
    if (event.key === '1') onDecide({ choice: 'allow' })
    else if (event.key === '2' && always) allowAlways()
    else if (event.key === '3') setPanel('deny')
    else if (event.key === 'Escape' && panel !== 'none') setPanel('none')
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  return (
    // oxlint-disable-next-line jsx-a11y/no-static-element-interactions -- keys of the card's buttons
    <div className="permission" onKeyDown={onKeyDown}>
      <h2 className="dock-title" tabIndex={-1}>
        <StateShape shape="waiting" label={t('permissions.waits')} />
        <Revealed text={asked.title ?? t('permissions.allowTool', { tool: nameOf(asked) })} />
        {asked.agent ? <span className="chip">{asked.agent}</span> : null}
      </h2>
      <Reasons asked={asked} />
      {panel === 'edit' ? (
        <EditInput
          asked={asked}
          sending={sending}
          onCancel={() => setPanel('none')}
          onAllow={(updated) => onDecide({ choice: 'allow', updated_input: updated })}
        />
      ) : (
        <Exactly asked={asked} />
      )}
      {panel === 'deny' ? (
        <DenyReason
          sending={sending}
          onCancel={() => setPanel('none')}
          onDeny={(reason) => onDecide({ choice: 'deny', ...(reason ? { reason } : {}) })}
          onStop={(reason) => onDecide({ choice: 'deny_and_stop', ...(reason ? { reason } : {}) })}
        />
      ) : null}
      {panel === 'none' ? (
        <div className="dock-foot">
          {asked.suggestions?.length ? (
            <RulePicker offers={offersOf(asked, t)} picked={picked} onPick={setPicked} />
          ) : null}
          <Answers
            sending={sending}
            onAllow={() => onDecide({ choice: 'allow' })}
            onAlways={always ? allowAlways : null}
            onPanel={setPanel}
          />
        </div>
      ) : null}
    </div>
  )
}

interface AnswersProps {
  sending: boolean
  onAllow: () => void
  /** None where nothing is picked to be saved. */
  onAlways: (() => void) | null
  onPanel: (panel: Panel) => void
}

function Answers({ sending, onAllow, onAlways, onPanel }: AnswersProps) {
  const { t } = useTranslation()
  return (
    <div className="dock-actions">
      <Button variant="primary" disabled={sending} onClick={onAllow}>
        {t('permissions.allow')}
        <kbd>1</kbd>
      </Button>
      {onAlways ? (
        <Button disabled={sending} onClick={onAlways}>
          {t('permissions.always')}
          <kbd>2</kbd>
        </Button>
      ) : null}
      <Button disabled={sending} onClick={() => onPanel('deny')}>
        {t('permissions.deny')}
        <kbd>3</kbd>
      </Button>
      <Button variant="quiet" disabled={sending} onClick={() => onPanel('edit')}>
        {t('permissions.edit')}
      </Button>
      {sending ? <span className="dock-sending">{t('permissions.sending')}</span> : null}
    </div>
  )
}

const nameOf = (asked: PermissionRequested) => asked.display_name ?? asked.tool_name

function isTyping(target: EventTarget): boolean {
  return target instanceof HTMLTextAreaElement || target instanceof HTMLInputElement
}

function Reasons({ asked }: { asked: PermissionRequested }) {
  const { t } = useTranslation()
  const unseen = hasUnseen(JSON.stringify(asked.input).replaceAll('\\n', ''))
  return (
    <>
      {reasonsOf(asked, t).map((line) => (
        <p key={line} className="dock-reason">
          <Revealed text={line} />
        </p>
      ))}
      {unseen ? <p className="dock-warning">{t('permissions.unseen')}</p> : null}
    </>
  )
}

interface DenyProps {
  sending: boolean
  onCancel: () => void
  onDeny: (reason: string) => void
  onStop: (reason: string) => void
}

function DenyReason({ sending, onCancel, onDeny, onStop }: DenyProps) {
  const { t } = useTranslation()
  const [reason, setReason] = useState('')
  return (
    <form
      className="dock-panel"
      onSubmit={(event) => {
        event.preventDefault()
        onDeny(reason.trim())
      }}
    >
      <label className="field">
        <span className="field-label">{t('permissions.reason')}</span>
        {/* oxlint-disable-next-line jsx-a11y/no-autofocus -- opened by the person, to be typed in */}
        <input
          className="input"
          autoFocus
          maxLength={10_000}
          value={reason}
          onChange={(event) => setReason(event.target.value)}
        />
      </label>
      <div className="dock-actions">
        <Button type="submit" variant="danger" disabled={sending}>
          {t('permissions.denyNow')}
        </Button>
        <Button disabled={sending} onClick={() => onStop(reason.trim())}>
          {t('permissions.denyAndStop')}
        </Button>
        <Button variant="quiet" onClick={onCancel}>
          {t('ui.back')}
        </Button>
      </div>
    </form>
  )
}

interface EditProps {
  asked: PermissionRequested
  sending: boolean
  onCancel: () => void
  onAllow: (updated: Record<string, unknown>) => void
}

function EditInput({ asked, sending, onCancel, onAllow }: EditProps) {
  const { t } = useTranslation()
  const form = editable(asked)
  const [text, setText] = useState(form.text)
  const updated = edited(asked, form.field, text)
  return (
    <form
      className="dock-panel"
      onSubmit={(event) => {
        event.preventDefault()
        if (updated) onAllow(updated)
      }}
    >
      <label className="field">
        <span className="field-label">
          {form.field ? t('permissions.editCommand') : t('permissions.editJson')}
        </span>
        <textarea
          className="input"
          data-mono=""
          rows={Math.min(12, text.split('\n').length + 1)}
          value={text}
          spellCheck={false}
          aria-invalid={!updated}
          onChange={(event) => setText(event.target.value)}
        />
      </label>
      {updated ? null : <p className="dock-warning">{t('permissions.notJson')}</p>}
      <div className="dock-actions">
        <Button type="submit" variant="primary" disabled={sending || !updated}>
          {t('permissions.allowEdited')}
        </Button>
        <Button variant="quiet" onClick={onCancel}>
          {t('ui.back')}
        </Button>
      </div>
    </form>
  )
}
