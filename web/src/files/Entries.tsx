/** One directory: those in it first, then files, each to be downloaded. */
import { Download, File, FileSymlink, FileWarning, Folder, type LucideIcon } from 'lucide-react'
import { useTranslation } from 'react-i18next'
import { bytes } from '@/ui/format'
import { Revealed } from '@/ui/Revealed'
import { revealedText } from '@/ui/revealed'
import type { FileEntry, FileList, Workspace } from './workspace'

const ICONS: Record<FileEntry['kind'], LucideIcon> = {
  file: File,
  directory: Folder,
  symlink: FileSymlink,
  other: FileWarning,
}

export interface EntriesProps {
  list: FileList
  workspace: Workspace
  onOpen: (path: string) => void
}

export function Entries({ list, workspace, onOpen }: EntriesProps) {
  const { t } = useTranslation()
  return (
    <>
      {list.entries.length === 0 ? <p className="files-note">{t('files.empty')}</p> : null}
      {/* oxlint-disable-next-line jsx-a11y/no-redundant-roles -- Safari drops it with the bullets */}
      <ul role="list" className="files-list" aria-label={t('files.title')}>
        {list.entries.map((entry) => (
          <Line key={entry.path} entry={entry} workspace={workspace} onOpen={onOpen} />
        ))}
      </ul>
      {list.truncated ? <p className="files-note">{t('files.truncated')}</p> : null}
      {list.omitted > 0 ? (
        <p className="files-note">{t('files.omitted', { count: list.omitted })}</p>
      ) : null}
    </>
  )
}

interface LineProps {
  entry: FileEntry
  workspace: Workspace
  onOpen: (path: string) => void
}

function Line({ entry, workspace, onOpen }: LineProps) {
  const { t } = useTranslation()
  const Icon = ICONS[entry.kind]
  const name = <Revealed text={entry.name} as="line" />
  return (
    <li className="file" data-kind={entry.kind}>
      <Icon size={15} aria-hidden="true" />
      {entry.kind === 'directory' ? (
        <button type="button" className="file-name" onClick={() => onOpen(entry.path)}>
          {name}
        </button>
      ) : (
        <span className="file-name">
          {name}
          {entry.kind === 'file' ? null : (
            <span className="file-kind"> {t(`files.kind.${entry.kind}`)}</span>
          )}
        </span>
      )}
      <span className="file-size mono">{entry.kind === 'file' ? bytes(entry.size) : ''}</span>
      <Take entry={entry} workspace={workspace} />
    </li>
  )
}

/** Links are not followed, and pipes have no end: neither is downloaded. */
function Take({ entry, workspace }: { entry: FileEntry; workspace: Workspace }) {
  const { t } = useTranslation()
  const whole = entry.kind === 'directory'
  if (!whole && entry.kind !== 'file') return <span />
  const name = revealedText(entry.name, 'line')
  const label = t(whole ? 'files.archiveOf' : 'files.download', { name })
  return (
    <a
      className="button"
      data-variant="quiet"
      data-icon=""
      href={whole ? workspace.archiveUrl(entry.path) : workspace.contentUrl(entry.path)}
      download
      aria-label={label}
      title={label}
    >
      <Download size={15} aria-hidden="true" />
    </a>
  )
}
