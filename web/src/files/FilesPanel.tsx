/** What is in the sandbox's workspace: to look at, to take out, to put something in. */
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { Download, RotateCw, Upload } from 'lucide-react'
import { useId, useRef, useState, type DragEvent } from 'react'
import { useTranslation } from 'react-i18next'
import { useStore } from 'zustand'
import { ProblemAnswer } from '@/connection/api'
import { IconButton } from '@/ui/Button'
import { Revealed } from '@/ui/Revealed'
import { Entries } from './Entries'
import { useDropGuard } from './drop-guard'
import { UploadList } from './UploadList'
import type { Uploads } from './uploads'
import { trail, type Workspace } from './workspace'
import './files.css'

export interface FilesPanelProps {
  /** Names the session: what was read of another one is not shown here. */
  id: string
  workspace: Workspace
  uploads: Uploads
  /** `waiting`: there is none yet. `asleep`: its files are kept. `gone`: there is none any more. */
  sandbox: 'there' | 'waiting' | 'asleep' | 'gone'
  /** Changes when something in the workspace may have: then it is read again. */
  version: string
}

export function FilesPanel(props: FilesPanelProps) {
  const { t } = useTranslation()
  const title = useId()
  return (
    <section className="panel files" aria-labelledby={title}>
      {props.sandbox === 'there' ? (
        <Browser {...props} title={title} />
      ) : (
        <>
          <h2 id={title} className="panel-title">
            {t('files.title')}
          </h2>
          <p className="files-note">{t(`files.${props.sandbox}`)}</p>
        </>
      )}
    </section>
  )
}

function Browser({ id, workspace, uploads, version, title }: FilesPanelProps & { title: string }) {
  const { t } = useTranslation()
  const [path, setPath] = useState('')
  const done = useStore(uploads, (state) => state.done)
  const list = useQuery({
    queryKey: ['files', id, path, version, done],
    queryFn: () => workspace.list(path),
    placeholderData: keepPreviousData,
    retry: false,
  })
  const stale = list.data?.path !== path
  const drop = useDrop((files) => uploads.add(files, path))
  return (
    <div className="files-drop" data-dropping={drop.over || undefined} {...drop.handlers}>
      <Head
        title={title}
        archive={workspace.archiveUrl(path)}
        onFiles={(files) => uploads.add(files, path)}
        onReload={() => void list.refetch()}
      />
      <Trail path={path} onGo={setPath} />
      <UploadList uploads={uploads} />
      {list.isError ? (
        <p className="files-problem" role="alert">
          {list.error instanceof ProblemAnswer
            ? `${list.error.problem.title} ${list.error.problem.detail ?? ''}`
            : t('ui.unreachable')}
        </p>
      ) : list.data && !stale ? (
        <Entries list={list.data} workspace={workspace} onOpen={setPath} />
      ) : (
        <p className="files-note">{t('files.loading')}</p>
      )}
      <p className="files-hint">{t(drop.over ? 'files.dropHere' : 'files.hint')}</p>
    </div>
  )
}

interface HeadProps {
  title: string
  archive: string
  onFiles: (files: Iterable<File>) => void
  onReload: () => void
}

function Head({ title, archive, onFiles, onReload }: HeadProps) {
  const { t } = useTranslation()
  const field = useRef<HTMLInputElement>(null)
  return (
    <div className="files-head">
      <h2 id={title} className="panel-title">
        {t('files.title')}
      </h2>
      <IconButton label={t('files.reload')} onClick={onReload}>
        <RotateCw size={15} aria-hidden="true" />
      </IconButton>
      <a
        className="button"
        data-variant="quiet"
        data-icon=""
        href={archive}
        download
        aria-label={t('files.archive')}
        title={t('files.archive')}
      >
        <Download size={15} aria-hidden="true" />
      </a>
      <IconButton label={t('files.upload')} onClick={() => field.current?.click()}>
        <Upload size={15} aria-hidden="true" />
      </IconButton>
      <input
        ref={field}
        type="file"
        multiple
        hidden
        aria-label={t('files.upload')}
        onChange={({ target }) => {
          onFiles([...(target.files ?? [])])
          target.value = '' // the same file again is a change again
        }}
      />
    </div>
  )
}

function Trail({ path, onGo }: { path: string; onGo: (path: string) => void }) {
  const { t } = useTranslation()
  const steps = [{ name: t('files.root'), path: '' }, ...trail(path)]
  return (
    <nav className="files-trail" aria-label={t('files.trail')}>
      {steps.map((step, index) => (
        <span key={step.path}>
          {index > 0 ? <span aria-hidden="true">/</span> : null}
          <button
            type="button"
            aria-current={step.path === path ? 'location' : undefined}
            onClick={() => onGo(step.path)}
          >
            <Revealed text={step.name} as="line" />
          </button>
        </span>
      ))}
    </nav>
  )
}

/** Files may be dropped anywhere on the panel. */
function useDrop(onFiles: (files: Iterable<File>) => void) {
  const [over, setOver] = useState(false)
  useDropGuard()
  const carries = (event: DragEvent) => event.dataTransfer.types.includes('Files')
  return {
    over,
    handlers: {
      onDragOver(event: DragEvent) {
        if (!carries(event)) return
        event.preventDefault()
        event.dataTransfer.dropEffect = 'copy'
        setOver(true)
      },
      onDragLeave(event: DragEvent<HTMLElement>) {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(false)
      },
      onDrop(event: DragEvent) {
        if (!carries(event)) return
        event.preventDefault()
        setOver(false)
        onFiles([...event.dataTransfer.files])
      },
    },
  }
}
