/** What became of the sandbox, and what people should know of it: lines between the others. */
import { History, TriangleAlert } from 'lucide-react'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { regionOf } from '@/i18n/i18n'
import { Confirm } from '@/ui/Dialog'
import { Revealed } from '@/ui/Revealed'
import { StateShape, type Shape } from '@/ui/StateShape'
import { useSession, useSessionStore } from './session-context'
import { wordsOfStay, wordsOfWarning } from './stay-words'
import type { StayRow, WarningRow } from './transcript/shape'
import './stays.css'

const SHAPES: Record<StayRow['phase'], Shape | null> = {
  troubled: null,
  gone: 'starting',
  resting: 'asleep',
  stopped: 'failed',
  back: null,
}

export function StayLine({ row }: { row: StayRow }) {
  const { t, i18n } = useTranslation()
  const shape = SHAPES[row.phase]
  return (
    <p className="stay-line" data-phase={row.phase}>
      {shape ? <StateShape shape={shape} /> : null}
      {row.phase === 'troubled' ? <TriangleAlert size={14} aria-hidden="true" /> : null}
      <span>
        <Revealed
          text={wordsOfStay(row, t, regionOf(i18n.language, navigator.languages))}
          as="prose"
        />
      </span>
      {row.times > 1 ? (
        <span className="chip">{t('stays.times', { count: row.times })}</span>
      ) : null}
    </p>
  )
}

export function WarningLine({ row }: { row: WarningRow }) {
  const { t } = useTranslation()
  return (
    <p className="stay-line" data-phase="troubled">
      <TriangleAlert size={14} aria-hidden="true" />
      <span>
        <Revealed text={wordsOfWarning(row, t)} as="prose" />
      </span>
      {row.times > 1 ? <span className="chip">× {row.times}</span> : null}
    </p>
  )
}

/** It is written, and the sandbox went before it was whole. */
export function CutMark() {
  const { t } = useTranslation()
  return <span className="cut-mark">{t('stays.cut')}</span>
}

/** Hardly seen until one looks for it: the way back to here. */
export function CheckpointMark({ id }: { id: string }) {
  const { t } = useTranslation()
  const store = useSessionStore()
  const [asking, setAsking] = useState(false)
  const possible = useSession(({ session }) => session !== null && BETWEEN_TURNS.has(session.state))
  if (!possible) return null
  return (
    <>
      <button type="button" className="way-back" onClick={() => setAsking(true)}>
        <History size={12} aria-hidden="true" />
        {t('stays.checkpoints.backHere')}
      </button>
      <Confirm
        open={asking}
        title={t('stays.checkpoints.backTitlePlain')}
        text={t('stays.checkpoints.backText')}
        action={t('stays.checkpoints.backAction')}
        onClose={() => setAsking(false)}
        onConfirm={() => store.goBack(id)}
      />
    </>
  )
}

const BETWEEN_TURNS: ReadonlySet<string> = new Set(['idle', 'hibernated'])
