/** Where the sandbox met its walls, and what people passed in: quiet rows between the others. */
import { useTranslation } from 'react-i18next'
import { bytes } from '@/ui/format'
import { Revealed } from '@/ui/Revealed'
import { StateShape } from '@/ui/StateShape'
import type { EgressRow, UploadRow } from './transcript/shape'
import { times } from './transcript/walls'

export function EgressNotice({ row }: { row: EgressRow }) {
  const { t } = useTranslation()
  return (
    <div className="walls" role="group" aria-label={t('chat.egress.title')}>
      {/* oxlint-disable-next-line jsx-a11y/no-redundant-roles -- Safari drops it with the bullets */}
      <ul role="list" className="walls-list">
        {row.refusals.map((refusal) => (
          <li key={`${refusal.tag} ${refusal.host}:${refusal.port}`}>
            <p className="walls-host">
              <StateShape shape="ended" />
              <span>{t('chat.egress.blocked')}</span>
              <code>
                <Revealed text={`${refusal.host}:${refusal.port}`} as="line" />
              </code>
              {times(refusal) > 1 ? (
                <span className="chip">{t('chat.egress.times', { count: times(refusal) })}</span>
              ) : null}
            </p>
            <p className="walls-sentence">
              <Revealed text={refusal.sentence} as="prose" />
            </p>
          </li>
        ))}
      </ul>
      {row.more > 0 ? (
        <p className="walls-sentence">{t('chat.egress.more', { count: row.more })}</p>
      ) : null}
    </div>
  )
}

export function Upload({ row }: { row: UploadRow }) {
  const { t } = useTranslation()
  return (
    <p className="upload-line">
      <span>{t('chat.uploaded', { name: row.by })}</span>{' '}
      <code>
        <Revealed text={row.path} as="line" />
      </code>{' '}
      <span className="mono muted">{bytes(row.size)}</span>
    </p>
  )
}
