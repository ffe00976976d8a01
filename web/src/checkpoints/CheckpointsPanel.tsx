/** What was kept of the workspace: to look back, to go back, to take out. */
import { useQuery } from '@tanstack/react-query'
import { Download, History } from 'lucide-react'
import { useId, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { regionOf } from '@/i18n/i18n'
import { Button, IconButton } from '@/ui/Button'
import { Confirm } from '@/ui/Dialog'
import { bytes, dayTime } from '@/ui/format'
import type { Checkpoints, CheckpointView } from './checkpoints'
import './checkpoints.css'

export interface CheckpointsPanelProps {
  /** Names the session: what was read of another one is not shown here. */
  id: string
  checkpoints: Checkpoints
  /** The latest one's id: with another the list is read again. */
  latest: string
  /** Whether one may be taken, and whether one may go back: neither is possible in a turn. */
  may: { take: boolean; goBack: boolean; sleep: boolean }
  onTake: () => void
  onGoBack: (checkpointId: string) => void
  onSleep: () => void
}

export default function CheckpointsPanel(props: CheckpointsPanelProps) {
  const { t } = useTranslation()
  const { id, checkpoints, latest, may } = props
  const title = useId()
  const list = useQuery({
    queryKey: ['checkpoints', id, latest],
    queryFn: () => checkpoints.list(),
    placeholderData: (before) => before,
    retry: false,
  })
  return (
    <section className="panel checkpoints" aria-labelledby={title}>
      <h2 id={title} className="panel-title">
        {t('stays.checkpoints.title')}
      </h2>
      <p className="checkpoints-note">{t('stays.checkpoints.text')}</p>
      {list.isError ? (
        <p className="checkpoints-problem" role="alert">
          {t('stays.checkpoints.failed')}
        </p>
      ) : list.data ? (
        <List {...props} list={list.data} />
      ) : (
        <p className="checkpoints-note">{t('stays.checkpoints.loading')}</p>
      )}
      <div className="checkpoints-actions">
        <Button disabled={!may.take} onClick={props.onTake}>
          {t('stays.checkpoints.take')}
        </Button>
        <Button
          disabled={!may.sleep}
          title={t('stays.checkpoints.sleepHint')}
          onClick={props.onSleep}
        >
          {t('stays.checkpoints.sleep')}
        </Button>
      </div>
    </section>
  )
}

function List(props: CheckpointsPanelProps & { list: readonly CheckpointView[] }) {
  const { t, i18n } = useTranslation()
  const { list, checkpoints, latest, may } = props
  const [asked, setAsked] = useState<CheckpointView | null>(null)
  const region = regionOf(i18n.language, navigator.languages)
  const timeOf = ({ created_at }: CheckpointView) => dayTime(created_at, region)
  if (list.length === 0) return <p className="checkpoints-note">{t('stays.checkpoints.none')}</p>
  return (
    <>
      {/* oxlint-disable-next-line jsx-a11y/no-redundant-roles -- Safari drops it with the bullets */}
      <ul role="list" className="checkpoints-list" aria-label={t('stays.checkpoints.title')}>
        {list.map((one) => (
          <li key={one.id} className="checkpoint">
            <span>
              <span className="mono">{timeOf(one)}</span>
              {one.id === latest ? (
                <span className="checkpoint-latest"> {t('stays.checkpoints.latest')}</span>
              ) : null}
              {one.omitted > 0 ? (
                <span className="checkpoint-omitted">
                  {t('stays.checkpoints.omitted', { count: one.omitted })}
                </span>
              ) : null}
            </span>
            <span className="mono muted">{bytes(one.size)}</span>
            <IconButton
              label={t('stays.checkpoints.back', { time: timeOf(one) })}
              disabled={!may.goBack}
              onClick={() => setAsked(one)}
            >
              <History size={15} aria-hidden="true" />
            </IconButton>
            <Take name={timeOf(one)} url={checkpoints.archiveUrl(one.id)} />
          </li>
        ))}
      </ul>
      <Confirm
        open={asked !== null}
        title={t('stays.checkpoints.backTitle', { time: asked ? timeOf(asked) : '' })}
        text={t('stays.checkpoints.backText')}
        action={t('stays.checkpoints.backAction')}
        onClose={() => setAsked(null)}
        onConfirm={() => asked && props.onGoBack(asked.id)}
      />
    </>
  )
}

function Take({ name, url }: { name: string; url: string }) {
  const { t } = useTranslation()
  const label = t('stays.checkpoints.download', { time: name })
  return (
    <a
      className="button"
      data-variant="quiet"
      data-icon=""
      href={url}
      download
      aria-label={label}
      title={label}
    >
      <Download size={15} aria-hidden="true" />
    </a>
  )
}
