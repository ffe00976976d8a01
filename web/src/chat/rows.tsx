/** The rows that are neither Claude's prose nor a tool. */
import { ChevronDown, ChevronRight } from 'lucide-react'
import type { TFunction } from 'i18next'
import { useId, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { regionOf } from '@/i18n/i18n'
import { brief, count } from '@/ui/format'
import { Revealed } from '@/ui/Revealed'
import { StateShape } from '@/ui/StateShape'
import { CutMark } from './stays'
import { Markdown } from './markdown/Markdown'
import { saysMore } from './transcript/failures'
import type { FailureRow, MarkRow, NoteRow, ThoughtRow } from './transcript/shape'

export function Thought({ row }: { row: ThoughtRow }) {
  const { t } = useTranslation()
  const [open, setOpen] = useState(false)
  const id = useId()
  const Chevron = open ? ChevronDown : ChevronRight
  const took = row.tookMs !== null && row.tookMs >= 1000 ? brief(row.tookMs) : ''
  const label = row.open
    ? t('chat.thinking')
    : took
      ? t('chat.thoughtFor', { time: took })
      : t('chat.thought')
  return (
    <div className="thought">
      <button
        type="button"
        className="thought-row"
        aria-expanded={open}
        aria-controls={id}
        onClick={() => setOpen(!open)}
      >
        <Chevron size={14} aria-hidden="true" />
        {row.open ? <StateShape shape="running" /> : null}
        <span>{label}</span>
        {row.cut ? <CutMark /> : null}
        {open ? null : (
          <span className="thought-peek">
            <Revealed text={peek(row)} as="prose" />
          </span>
        )}
      </button>
      <div id={id} hidden={!open} className="thought-text">
        {open ? <Markdown text={row.text} open={row.open} /> : null}
      </div>
    </div>
  )
}

const PEEK = 160

/** While Claude thinks, the end of the thought is what moves; afterwards its beginning says more. */
function peek(row: ThoughtRow): string {
  const line = row.open ? row.text.slice(-PEEK) : row.text.slice(0, PEEK)
  return line.replace(/\s+/g, ' ').trim()
}

export function Note({ row }: { row: NoteRow }) {
  return (
    <div className="note">
      {row.origin ? (
        <span className="note-origin">
          <Revealed text={row.origin} as="line" />
        </span>
      ) : null}
      <span>
        <Revealed text={row.text} />
      </span>
    </div>
  )
}

export function FailureNotice({ row }: { row: FailureRow }) {
  const { t } = useTranslation()
  const known = t(`chat.failure.${row.tag}`, { defaultValue: '' })
  const advice = row.advice || t(`chat.failureAdvice.${row.tag}`, { defaultValue: '' })
  const sentence = row.advice ? row.sentence : known || row.sentence || t('chat.failed')
  const details = [row.sentence, ...row.details].filter((detail) => saysMore(detail, sentence))
  return (
    <div className="failure" role="group" aria-label={t('chat.failed')}>
      <p className="failure-sentence">
        <StateShape shape="failed" />
        <span>
          <Revealed text={sentence} as="prose" />
        </span>
        {row.times > 1 ? <span className="chip">× {row.times}</span> : null}
      </p>
      {advice ? <p className="failure-advice">{advice}</p> : null}
      {details.length > 0 ? (
        <details className="failure-more">
          <summary>{t('chat.failureDetail')}</summary>
          {details.map((detail) => (
            <pre key={detail} className="failure-detail">
              <Revealed text={detail} />
            </pre>
          ))}
        </details>
      ) : null}
    </div>
  )
}

/** Something that concerns everything after it: a line across. */
export function MarkLine({ row }: { row: MarkRow }) {
  const { t, i18n } = useTranslation()
  const bad = row.mark === 'ended' && row.tag !== 'ended_by_user'
  return (
    <div className="mark-line" data-bad={bad || undefined}>
      <span className="mark-text">
        {bad ? <StateShape shape="failed" /> : null}{' '}
        <Revealed text={wordsOf(row, t, regionOf(i18n.language, navigator.languages))} as="prose" />
      </span>
    </div>
  )
}

function wordsOf(row: MarkRow, t: TFunction, region: string): string {
  switch (row.mark) {
    case 'compacted':
      return t('chat.mark.compacted', { tokens: count(Number(row.text)) })
    case 'limited':
      return row.text
        ? t('chat.mark.limitedUntil', { time: timeOf(Number(row.text), region) })
        : t('chat.mark.limited')
    case 'ended':
      return row.text || t('chat.mark.ended')
    case 'unknown':
      return t('chat.mark.unknown', { tag: row.tag, text: row.text })
    default:
      return t(`chat.mark.${row.mark}`)
  }
}

const timeOf = (seconds: number, region: string) =>
  new Date(seconds * 1000).toLocaleTimeString(region, { hour: '2-digit', minute: '2-digit' })
