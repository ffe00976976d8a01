/** What is on its way into the workspace, and what did not get there. */
import { X } from 'lucide-react'
import { useTranslation } from 'react-i18next'
import { useStore } from 'zustand'
import { Button, IconButton } from '@/ui/Button'
import { Revealed } from '@/ui/Revealed'
import { revealedText } from '@/ui/revealed'
import { StateShape } from '@/ui/StateShape'
import type { Upload, Uploads } from './uploads'

export function UploadList({ uploads }: { uploads: Uploads }) {
  const { t } = useTranslation()
  const list = useStore(uploads, (state) => state.uploads)
  if (list.length === 0) return null
  return (
    // oxlint-disable-next-line jsx-a11y/no-redundant-roles -- Safari drops it with the bullets
    <ul role="list" className="uploads" aria-label={t('files.uploads')}>
      {list.map((upload) => (
        <Line key={upload.id} upload={upload} uploads={uploads} />
      ))}
    </ul>
  )
}

function Line({ upload, uploads }: { upload: Upload; uploads: Uploads }) {
  const { t } = useTranslation()
  const name = revealedText(upload.name, 'line')
  const over = upload.phase === 'exists' || upload.phase === 'failed'
  return (
    <li className="upload" data-phase={upload.phase}>
      <span className="file-name">
        {over ? <StateShape shape={upload.phase === 'exists' ? 'waiting' : 'failed'} /> : null}{' '}
        <Revealed text={upload.name} as="line" />
      </span>
      <IconButton
        label={t(over ? 'files.dismiss' : 'files.callOff', { name })}
        onClick={() => uploads.dismiss(upload.id)}
      >
        <X size={14} aria-hidden="true" />
      </IconButton>
      {over ? (
        <p className="upload-problem" role="alert">
          {sentenceOf(upload, t('ui.unreachable'))}
        </p>
      ) : (
        <progress
          max={Math.max(1, upload.size)}
          value={upload.sent}
          aria-label={t('files.progress', { name })}
        />
      )}
      {upload.phase === 'exists' ? (
        <Button onClick={() => uploads.replace(upload.id)}>{t('files.replace')}</Button>
      ) : null}
    </li>
  )
}

const sentenceOf = ({ phase, problem }: Upload, unreachable: string): string => {
  if (!problem) return unreachable
  return phase === 'exists' ? problem.title : `${problem.title} ${problem.detail ?? ''}`
}
