/** One permission: exactly what would run, the rule that "always" would save, and the answers. */
import { useMemo, useState, type KeyboardEvent } from 'react'
import { useTranslation } from 'react-i18next'
import type { PermissionDecision, PermissionRequested, Problem } from '@/protocol/chat.generated'
import { Button } from '@/ui/Button'
import { linesAfterPress, piecesOf } from '@/ui/folding'
import { MoreLines } from '@/ui/MoreLines'
import { findings } from '@/ui/revealed'
import { Revealed } from '@/ui/Revealed'
import { StateShape } from '@/ui/StateShape'
import { editable, edited } from './editing'
import { Exactly } from './Exactly'
import { warningsOf } from './warnings'
import { reasonsOf } from './reasons'
import { RulePicker } from './RulePicker'
import { offersOf, pickedAtFirst } from './rules'

export interface PermissionCardProps {
  asked: PermissionRequested
  deciding: string | null
  turnedAway: Problem | null
  onDecide: (decision: PermissionDecision) => void
}

/** Characters: more than a sentence would push what is approved out of sight. */
const LONGEST_SAID = 240

type Panel = 'none' | 'edit' | 'deny'
/** What a person decides; the card adds what it is about. */
type Answer = Omit<PermissionDecision, 'input_hash'>

export function PermissionCard({ asked, deciding, turnedAway, onDecide }: PermissionCardProps) {
  const { t } = useTranslation()
  const decide = (answer: Answer) => onDecide({ ...answer, input_hash: asked.input_hash ?? '' })
  const [panel, setPanel] = useState<Panel>('none')
  const [hidden, setHidden] = useState(0)
  const [picked, setPicked] = useState(() => pickedAtFirst(asked))
  const always = picked.length > 0
  const allowAlways = () => decide({ choice: 'allow_always', suggestions: picked })
  const sending = deciding !== null
  const onKeyDown = (event: KeyboardEvent) => {
    if (sending || isTyping(event.target) || event.altKey || event.ctrlKey || event.metaKey) return
    if (event.key === '1') decide({ choice: 'allow' })
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
      <Title asked={asked} />
      <Reasons asked={asked} turnedAway={turnedAway} />
      {panel === 'edit' ? (
        <EditInput
          asked={asked}
          sending={sending}
          onCancel={() => setPanel('none')}
          onAllow={(updated) => decide({ choice: 'allow', updated_input: updated })}
        />
      ) : (
        <Exactly asked={asked} onHidden={setHidden} />
      )}
      {panel === 'deny' ? (
        <DenyReason
          sending={sending}
          onCancel={() => setPanel('none')}
          onDeny={(reason) => decide({ choice: 'deny', ...(reason ? { reason } : {}) })}
          onStop={(reason) => decide({ choice: 'deny_and_stop', ...(reason ? { reason } : {}) })}
        />
      ) : null}
      {panel === 'none' ? (
        <div className="dock-foot">
          {asked.suggestions?.length ? (
            <RulePicker offers={offersOf(asked, t)} picked={picked} onPick={setPicked} />
          ) : null}
          <Answers
            sending={sending}
            hidden={hidden}
            onAllow={() => decide({ choice: 'allow' })}
            onAlways={always ? allowAlways : null}
            onPanel={setPanel}
          />
        </div>
      ) : null}
    </div>
  )
}

function Title({ asked }: { asked: PermissionRequested }) {
  const { t } = useTranslation()
  const said = asked.title && asked.title.length <= LONGEST_SAID ? asked.title : null
  const title = said ?? t('permissions.allowTool', { tool: nameOf(asked) })
  return (
    <h2 className="dock-title" tabIndex={-1}>
      <StateShape shape="waiting" label={t('permissions.waits')} />
      <span>
        <Revealed text={title} as="prose" />
      </span>
      {/* A title comes from the sandbox: the tool is named whatever the title says. */}
      {title.includes(asked.tool_name) ? null : <NameChip name={asked.tool_name} />}
      {asked.agent ? <NameChip name={asked.agent} /> : null}
    </h2>
  )
}

const NameChip = ({ name }: { name: string }) => (
  <span className="chip">
    <Revealed text={name} as="line" />
  </span>
)

interface AnswersProps {
  sending: boolean
  /** Lines of the request that are still folded. */
  hidden: number
  onAllow: () => void
  /** None where nothing is picked to be saved. */
  onAlways: (() => void) | null
  onPanel: (panel: Panel) => void
}

function Answers({ sending, hidden, onAllow, onAlways, onPanel }: AnswersProps) {
  const { t } = useTranslation()
  return (
    <div className="dock-actions">
      {hidden > 0 ? (
        <p className="dock-folded">{t('permissions.folded', { count: hidden })}</p>
      ) : null}
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

interface ReasonsProps {
  asked: PermissionRequested
  turnedAway: Problem | null
}

function Reasons({ asked, turnedAway }: ReasonsProps) {
  const { t } = useTranslation()
  const warnings = useMemo(() => warningsOf(asked), [asked])
  return (
    <>
      {turnedAway ? (
        <p className="dock-warning dock-turned-away">
          {turnedAway.title} {turnedAway.detail}
        </p>
      ) : null}
      {reasonsOf(asked, t).map((line) => (
        <Reason key={line} text={line} />
      ))}
      {warnings.map((warning) => (
        <p key={warning} className="dock-warning">
          {t(`permissions.warning.${warning}`)}
        </p>
      ))}
    </>
  )
}

/** Claude's own words are folded, however long: they stand above what is approved. */
function Reason({ text }: { text: string }) {
  const pieces = useMemo(() => piecesOf(text, LONGEST_SAID), [text])
  const [shown, setShown] = useState(1)
  return (
    <div className="dock-reason">
      <p>
        <Revealed text={pieces.slice(0, shown).join('')} as="prose" />
      </p>
      <MoreLines
        count={pieces.length - shown}
        onShow={() => setShown(linesAfterPress(pieces.length, shown))}
      />
    </div>
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
      {findings([text]).size > 0 ? (
        <pre className="dock-typed" role="group" aria-label={t('permissions.typed')}>
          <Revealed text={text} as="exact" />
        </pre>
      ) : null}
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
