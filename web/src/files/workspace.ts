/** The files of one session's workspace, as the API has them. Paths are relative, with `/`. */
import { API, type Api } from '@/connection/api'
import { sendFile, type Sending } from '@/connection/sending'
import type { FileEntry, FileList } from '@/protocol/rest.generated'

export type { FileEntry, FileList }

export interface Workspace {
  list(path: string): Promise<FileList>
  put(path: string, file: Blob, how: Sending & { overwrite: boolean }): Promise<void>
  /** Where a file is downloaded from. */
  contentUrl(path: string): string
  /** The same for a directory as a zip file; empty for the whole workspace. */
  archiveUrl(path: string): string
}

/** A directory on a busy machine may take its time, but not for ever. */
const PATIENCE_MS = 30_000

export function workspaceOf(api: Api, sessionId: string): Workspace {
  const files = `/sessions/${encodeURIComponent(sessionId)}/files`
  const of = (path: string) => `path=${encodeURIComponent(path)}`
  return {
    list: (path) => api.ask<FileList>(`${files}?${of(path)}`, { patience: PATIENCE_MS }),
    put: (path, file, { overwrite, ...sending }) =>
      sendFile(api, `${files}/content?${of(path)}&overwrite=${overwrite}`, file, sending),
    contentUrl: (path) => `${API}${files}/content?${of(path)}`,
    archiveUrl: (path) => `${API}${files}/archive?${of(path)}`,
  }
}

export const joined = (directory: string, name: string): string =>
  directory === '' ? name : `${directory}/${name}`

/** A directory and those that it stands in, the outermost first. */
export function trail(path: string): { name: string; path: string }[] {
  const names = path === '' ? [] : path.split('/')
  return names.map((name, index) => ({ name, path: names.slice(0, index + 1).join('/') }))
}

/** A name that some systems allow and no URL can carry. */
export const sendable = (name: string): string => name.replace(/\p{Cs}/gu, '_')
